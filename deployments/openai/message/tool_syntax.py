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
from dataclasses import dataclass, replace


def _wide(name: str) -> str:
    """A token as DeepSeek writes them, with wide bars."""
    return f"<\uff5c{name}\uff5c>"


_CALLS_BEGIN, _CALLS_END = _wide("tool▁calls▁begin"), _wide("tool▁calls▁end")
_CALL_BEGIN, _CALL_END = _wide("tool▁call▁begin"), _wide("tool▁call▁end")
_SEPARATOR = _wide("tool▁sep")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallWriting:
    """What a model is held to that writes calls: opening call (between call)* closing.

    A call is `head`, with the name at its `%s`, then the arguments as JSON, then `tail`.
    """

    head: str
    tail: str = ""
    opening: str = ""
    between: str = ""
    closing: str = ""
    quotes_name: bool = False  # the name is JSON text
    is_pythonic: bool = False  # the arguments are keywords with JSON values


def _objects(
    arguments_key: str, *, opening: str = "", between: str, closing: str = ""
) -> CallWriting:
    """Calls that are objects with a name."""
    return CallWriting(
        head=f'{{"name": %s, "{arguments_key}": ',
        tail="}",
        opening=opening,
        between=between,
        closing=closing,
        quotes_name=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSyntax:
    """One way to write calls. A section of calls begins with a marker and may hold several."""

    openings: tuple[str, ...] = ()  # the markers that open a section
    closing: str = ""  # ends a section; without it, one goes on to the answer's end
    bare_start: str = ""  # an answer that begins like this is a section without a marker
    fillers: tuple[str, ...] = ()  # stand between the calls of a section, and mean nothing
    head: re.Pattern[str] | None = None  # from a call's name to its arguments; None: an object
    is_pythonic: bool = False
    writings: tuple[CallWriting, ...]  # of which a model that is held to calls may choose one
    prime: str = (
        ""  # leads a model to a call that it has to make, and is then no part of the answer
    )
    has_short_ids: bool = False  # the model's template wants ids of nine letters and digits

    @property
    def markers(self) -> tuple[str, ...]:
        """All texts that stand for themselves."""
        return tuple(mark for mark in (*self.openings, self.closing, *self.fillers) if mark)

    @property
    def when_forced(self) -> "ToolSyntax":
        """How a model writes calls that it has to make."""
        if self.is_pythonic:
            return FORCED  # the grammar of keywords would not hold it to a schema
        if not self.prime:
            return self
        behind_prime = tuple(replace(writing, opening="") for writing in self.writings)
        return replace(self, bare_start="{", writings=behind_prime)


HERMES = ToolSyntax(
    openings=("<tool_call>",),
    closing="</tool_call>",
    fillers=(",",),
    prime="<tool_call>\n",
    writings=(
        _objects(
            "arguments",
            opening="<tool_call>\n",
            between="\n</tool_call>\n<tool_call>\n",
            closing="\n</tool_call>",
        ),
    ),
)
LLAMA3_JSON = ToolSyntax(
    openings=("<|python_tag|>",),
    bare_start="{",
    fillers=(";", ","),
    writings=(_objects("parameters", between="; "),),
)
MISTRAL = ToolSyntax(
    openings=("[TOOL_CALLS]",),
    fillers=("[TOOL_CALLS]", "[", "]", ","),
    head=re.compile(r"([\w.-]{1,128})(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*(?=\{)"),
    has_short_ids=True,
    writings=(
        _objects("arguments", opening="[TOOL_CALLS][", between=", ", closing="]"),
        CallWriting(opening="[TOOL_CALLS]", head="%s[ARGS]", between="[TOOL_CALLS]"),
    ),
)
DEEPSEEK = ToolSyntax(
    openings=(_CALLS_BEGIN,),
    closing=_CALLS_END,
    fillers=(_CALL_BEGIN, _CALL_END, "```"),
    head=re.compile(
        rf"function{_SEPARATOR}([^\n<]{{1,128}})\n```json\s*(?=\{{)"
        rf"|(?!function<)([^\n<]{{1,128}}){_SEPARATOR}\s*(?=\{{)"
    ),
    writings=(
        CallWriting(
            opening=_CALLS_BEGIN,
            head=f"{_CALL_BEGIN}function{_SEPARATOR}%s\n```json\n",
            tail=f"\n```{_CALL_END}",
            between="\n",
            closing=_CALLS_END,
        ),
        CallWriting(
            opening=_CALLS_BEGIN,
            head=f"{_CALL_BEGIN}%s{_SEPARATOR}",
            tail=_CALL_END,
            closing=_CALLS_END,
        ),
    ),
)
PYTHONIC = ToolSyntax(
    openings=("<|python_start|>",),
    closing="<|python_end|>",
    bare_start="[",
    is_pythonic=True,
    writings=(
        CallWriting(opening="[", head="%s(", tail=")", between=", ", closing="]", is_pythonic=True),
    ),
)
# Of a model that is held to calls whatever its own syntax.
FORCED = ToolSyntax(bare_start="{", writings=(_objects("arguments", between="\n"),))

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
