"""The grammar of calls: what an answer is held to that has to call tools, or may.

    tools, CallWriting ──> Lark, as llguidance takes it: names, and arguments by their schemas

A marker that is one token of the vocabulary is named as that token: spelled out, it would be
another text to the model. How calls are read is known to legato.deployments.openai.message.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from legato.deployments.openai.constraint import Constraint
from legato.deployments.openai.message.tool_syntax import CallWriting, ToolSyntax
from legato.deployments.openai.tool_use import Tool
from legato.engine.errors import InvalidRequestError
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind

# Models that are not sure what comes next like to go on with white space for ever. What the grammar
# does not know of a schema is passed over, unless the tool is strict.
_SCHEMA_OPTIONS = {"whitespace_pattern": r"[ \n\r\t]{1,40}", "coerce_one_of": True}
_PLAIN_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class CallGrammar:
    """Writes the grammar of one request's calls.

    Attributes:
        added_tokens: the vocabulary's added tokens, which no text spells, by their texts.
        is_parallel: there may be several calls, and not just one.
    """

    syntax: ToolSyntax
    added_tokens: Mapping[str, int]
    is_parallel: bool

    def constraint(self, tools: Sequence[Tool]) -> Constraint:
        """Calls of these tools, and nothing else.

        Raises:
            InvalidRequestError: the syntax has no place for a tool's name.
        """
        writings = [one for one in self.syntax.writings if _can_write(one, tools)]
        if not writings:
            raise InvalidRequestError("names must be of letters, digits, '_', '-' and '.'", "tools")
        lines = [f"start: {' | '.join(f'calls_{i}' for i in range(len(writings)))}"]
        for number, writing in enumerate(writings):
            lines += self._rules_of_calls(number, writing, tools)
        for number, tool in enumerate(tools):
            lines += _rules_of_arguments(number, tool, any(one.is_pythonic for one in writings))
        output = StructuredOutput(StructuredOutputKind.CALLS, "\n".join(lines))
        return Constraint(output, "tools")

    def _rules_of_calls(
        self, number: int, writing: CallWriting, tools: Sequence[Tool]
    ) -> Iterator[str]:
        call = f"call_{number}"
        before, after = writing.head.split("%s")
        kind = "keywords" if writing.is_pythonic else "arguments"
        alternatives = []
        for i, tool in enumerate(tools):
            name = tool["function"]["name"]
            written = _as_json(name) if writing.quotes_name else name
            head = f"{self._text(before)} {_as_json(written)} {self._text(after)}"
            alternatives.append(f"{head} {kind}_{i} {self._text(writing.tail)}")
        more = f" ({self._text(writing.between)} {call})*" if self.is_parallel else ""
        opening, closing = self._text(writing.opening), self._text(writing.closing)
        yield f"calls_{number}: {opening} {call}{more} {closing}"
        yield f"{call}: {' | '.join(alternatives)}"

    def _text(self, text: str) -> str:
        """A text of the syntax: its markers as tokens, the rest as it is spelled."""
        marks = [mark for mark in self.syntax.markers if mark in self.added_tokens]
        pieces = [text]
        if marks:
            longest_first = sorted(marks, key=len, reverse=True)
            pieces = re.split(f"({'|'.join(map(re.escape, longest_first))})", text)
        return " ".join(
            f"<[{self.added_tokens[piece]}]>" if piece in marks else _as_json(piece)
            for piece in pieces
            if piece
        )


def _can_write(writing: CallWriting, tools: Sequence[Tool]) -> bool:
    names = (tool["function"]["name"] for tool in tools)
    return writing.quotes_name or all(_PLAIN_NAME.fullmatch(name) for name in names)


def _rules_of_arguments(number: int, tool: Tool, is_pythonic: bool) -> Iterator[str]:
    schema = _schema(tool["function"])
    if not is_pythonic:
        yield f"arguments_{number}: %json {_as_json(schema)}"
        return
    given = schema.get("properties")
    properties: dict[str, Any] = given if isinstance(given, dict) else {}
    keys = [key for key in properties if key.isidentifier()]
    if not keys:
        yield f'keywords_{number}: ""'
        return
    yield f'keywords_{number}: (keyword_{number} (", " keyword_{number})*)?'
    values = " | ".join(f"{_as_json(key + '=')} value_{number}_{i}" for i, key in enumerate(keys))
    yield f"keyword_{number}: {values}"
    shared: dict[str, Any] = {
        key: schema[key] for key in ("$defs", "definitions", "x-guidance") if key in schema
    }
    for i, key in enumerate(keys):
        value = shared | {"allOf": [properties[key]]}
        yield f"value_{number}_{i}: %json {_as_json(value)}"


def _schema(function: Mapping[str, Any]) -> dict[str, Any]:
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    options = {**_SCHEMA_OPTIONS, "lenient": function.get("strict") is not True}
    return {"type": "object", **parameters, "x-guidance": options}


def _as_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
