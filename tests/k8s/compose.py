"""The compose file, with the values of .env filled in as docker compose does it."""

import re
from typing import Any

import yaml

from legato.tests.k8s.manifests import K8S

FOLDER = K8S / "compose"
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::([?-])([^}]*))?\}")


class _Loader(yaml.SafeLoader):
    """Knows the tags with which one compose file changes another."""


def _overriding(loader: _Loader, node: yaml.SequenceNode) -> list[Any]:
    return loader.construct_sequence(node)


def _reset(_loader: _Loader, _node: yaml.Node) -> None:
    return None


_Loader.add_constructor("!override", _overriding)
_Loader.add_constructor("!reset", _reset)


def example_environment() -> dict[str, str]:
    """Every variable of .env.example, with its value there."""
    lines = (FOLDER / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("=", 1) for line in lines if line and not line.startswith("#")]
    return {name: value for name, value in pairs}


def filled_in() -> dict[str, str]:
    """As a user would have it: whatever is empty has become a secret."""
    return {name: value or f"secret-{name}" for name, value in example_environment().items()}


def variables(name: str) -> set[str]:
    """The names of the variables that a file asks for."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    return {match[1] for match in _VARIABLE.finditer(text) if match[1]}


def read(name: str, environment: dict[str, str]) -> dict[str, Any]:
    """A compose file with `environment` in the place of its variables.

    Raises:
        KeyError: a variable that must be set is not.
    """

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        found = environment.get(match[1], "")
        if match[2] == "-":
            return found or match[3]
        if not found:
            raise KeyError(match[1])
        return found

    text = (FOLDER / name).read_text(encoding="utf-8")
    filled = _VARIABLE.sub(value, text)
    compose: dict[str, Any] = yaml.load(filled, _Loader)
    return compose


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read("compose.yaml", filled_in())["services"]
    return found


def words_of(command: list[str]) -> list[str]:
    """Behind the image's entry point."""
    return ["serve", "--host", "0.0.0.0", *command]
