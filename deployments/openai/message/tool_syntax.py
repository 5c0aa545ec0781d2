"""How families of models write tool calls, as data.

| syntax | a call |
|---|---|
| hermes | `<tool_call>{"name": N, "arguments": {...}}</tool_call>` |
| llama3_json | `{"name": N, "parameters": {...}}`, with or without `<|python_tag|>` before it |
| mistral | `[TOOL_CALLS][{"name": N, "arguments": {...}}]` or `[TOOL_CALLS]N[ARGS]{...}` |
| deepseek | begin, `N` separator `{...}` or `function` separator N and a block of JSON, end |
| pythonic | `[N(key=value), ...]` |
"""

import re
from dataclasses import dataclass


def _wide(name: str) -> str:
    """A token as DeepSeek writes them, with wide bars."""
    return f"<\uff5c{name}\uff5c>"


_CALLS_BEGIN, _CALLS_END = _wide("tool▁calls▁begin"), _wide("tool▁calls▁end")
_CALL_BEGIN, _CALL_END = _wide("tool▁call▁begin"), _wide("tool▁call▁end")
_SEPARATOR = _wide("tool▁sep")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSyntax:
    """One way to write calls. A section of calls begins with a marker and may hold several."""

    openings: tuple[str, ...] = ()  # the markers that open a section
    closing: str = ""  # ends a section; without it, one goes on to the answer's end
    bare_start: str = ""  # an answer that begins like this is a section without a marker
    fillers: tuple[str, ...] = ()  # stand between the calls of a section, and mean nothing
    head: re.Pattern[str] | None = None  # from a call's name to its arguments; None: an object
    is_pythonic: bool = False
    arguments_key: str = "arguments"  # in a call that is an object
    prime: str = ""  # leads a model to a call that it has to make
    has_short_ids: bool = False  # the model's template wants ids of nine letters and digits

    @property
    def markers(self) -> tuple[str, ...]:
        """All texts that stand for themselves."""
        return tuple(mark for mark in (*self.openings, self.closing, *self.fillers) if mark)


HERMES = ToolSyntax(
    openings=("<tool_call>",), closing="</tool_call>", fillers=(",",), prime="<tool_call>\n"
)
LLAMA3_JSON = ToolSyntax(
    openings=("<|python_tag|>",), bare_start="{", fillers=(";", ","), arguments_key="parameters"
)
MISTRAL = ToolSyntax(
    openings=("[TOOL_CALLS]",),
    fillers=("[TOOL_CALLS]", "[", "]", ","),
    head=re.compile(r"([\w.-]{1,128})(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*(?=\{)"),
    has_short_ids=True,
)
DEEPSEEK = ToolSyntax(
    openings=(_CALLS_BEGIN,),
    closing=_CALLS_END,
    fillers=(_CALL_BEGIN, _CALL_END, "```"),
    head=re.compile(
        rf"function{_SEPARATOR}([^\n<]{{1,128}})\n```json\s*(?=\{{)"
        rf"|(?!function<)([^\n<]{{1,128}}){_SEPARATOR}\s*(?=\{{)"
    ),
)
PYTHONIC = ToolSyntax(
    openings=("<|python_start|>",), closing="<|python_end|>", bare_start="[", is_pythonic=True
)
# What a model writes that is held to one call by a grammar, whatever its own syntax.
FORCED = ToolSyntax(bare_start="{")

# By the names that vLLM's flag --tool-call-parser has for them.
TOOL_SYNTAXES = {
    "hermes": HERMES,
    "llama3_json": LLAMA3_JSON,
    "mistral": MISTRAL,
    "deepseek_v3": DEEPSEEK,
    "deepseek_v31": DEEPSEEK,
    "pythonic": PYTHONIC,
    "llama4_pythonic": PYTHONIC,
}

# In a chat template: marks of a syntax, the most telling first; None: one that is not known here.
_TEMPLATE_MARKS: tuple[tuple[str, ToolSyntax | None], ...] = (
    ("<function=", None),
    ("<arg_key>", None),
    (_CALLS_BEGIN, DEEPSEEK),
    ("[TOOL_CALLS]", MISTRAL),
    ("<|python_start|>", PYTHONIC),
    ("<tool_call>", HERMES),
    ("<|python_tag|>", LLAMA3_JSON),
    ('{"name": function name, "parameters": ', LLAMA3_JSON),
)


def syntax_of_template(template: str) -> ToolSyntax | None:
    """The syntax that a chat template shows its model; None if it shows none that is known."""
    return next((syntax for mark, syntax in _TEMPLATE_MARKS if mark in template), None)
