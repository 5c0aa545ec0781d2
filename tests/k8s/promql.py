"""Which metrics and labels a PromQL expression names. It reads words; it understands no semantics.

avg by (role) (max by (role, worker) (vllm:num_requests_waiting{model_name=~"m"}))
        by labels: role, worker        metric               matcher labels: model_name
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_STRING = re.compile(r"\"[^\"]*\"|'[^']*'")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_DURATION = re.compile(r"\[[^\]]*\]")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?")
_KEYWORDS = frozenset({"and", "or", "unless", "bool", "offset", "by", "without", "on"})


@dataclass(frozen=True, slots=True)
class Selector:
    metric: str
    labels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Expression:
    """What an expression names."""

    selectors: tuple[Selector, ...]
    grouping: frozenset[str]

    @classmethod
    def read(cls, text: str) -> "Expression":
        text = _STRING.sub('""', text)
        grouping = {
            name.strip() for found in _GROUPING.findall(text) for name in found.split(",")
        } - {""}
        text = _DURATION.sub("", _GROUPING.sub(" ", text))
        return cls(tuple(_selectors(text)), frozenset(grouping))

    @property
    def metrics(self) -> frozenset[str]:
        return frozenset(selector.metric for selector in self.selectors)


def _selectors(text: str) -> Iterator[Selector]:
    for match in _SELECTOR.finditer(text):
        name = match[1]
        is_function = text[match.end() :].lstrip().startswith("(") and match[2] is None
        is_number = match.start() > 0 and text[match.start() - 1].isdigit()
        if name not in _KEYWORDS and not is_function and not is_number:
            labels = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", match[2] or "")
            yield Selector(name, frozenset(labels))


def panels_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries_of(dashboard: dict[str, Any]) -> list[str]:
    """The expressions of a dashboard's panels, with Grafana's variables in them."""
    return [target["expr"] for panel in panels_of(dashboard) for target in panel["targets"]]


def without_variables(query: str, range_s: int) -> str:
    """What Grafana sends when every variable is at "All"."""
    query = query.replace("$__rate_interval", f"{range_s}s")
    return re.sub(r"\$\w+", ".*", query)
