"""What the specs of StructuredOutput mean: each as a grammar that llguidance takes.

    kind, spec ──> to_grammar ──> Lark, or JSON with grammars in it ──> GrammarCompiler

Whether anything can match a grammar, and at which cost, is found out by whoever compiles it.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from llguidance import LLMatcher, grammar_from

from legato.engine.structured_output import StructuredOutput, StructuredOutputKind

MAX_SPEC_BYTES = 1 << 16
MAX_FORMS = 8  # of which an answer has one
MAX_MESSAGE_CHARS = 300
# Usual layouts, and no more: a model that does not know how to go on would go on with spaces.
_JSON_WHITESPACE = r" |\r?\n[ \t]{0,32}"
# Of Lark: strings, comments, regular expressions.
_LITERALS = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/(?:\\.|[^/\\\n])+/')


def to_grammar(structured: StructuredOutput) -> str:
    """The grammar of a spec.

    Raises:
        ValueError: it is malformed, or too long.
    """
    if structured.kind is StructuredOutputKind.ANY_OF:
        return _any_of_grammar(structured.spec)
    if len(structured.spec.encode()) > MAX_SPEC_BYTES:
        raise ValueError(f"the {structured.kind.value} is longer than {MAX_SPEC_BYTES} bytes")
    return _WRITERS[structured.kind](structured.spec)


def _any_of_grammar(spec: str) -> str:
    forms = _parsed(spec)
    if not isinstance(forms, list) or not 0 < len(forms) <= MAX_FORMS:
        raise ValueError(f"the any_of must be a list of 1 to {MAX_FORMS} forms")
    parts = [_named_grammar(f"form_{i}", form) for i, form in enumerate(forms)]
    start = "start: " + " | ".join(f"@{part['name']}" for part in parts)
    return json.dumps({"grammars": [{"lark_grammar": start}, *parts]})


def _named_grammar(name: str, form: object) -> dict[str, Any]:
    match form:
        case [str(kind), str(spec)] if kind in _WRITERS:
            grammar = to_grammar(StructuredOutput(StructuredOutputKind(kind), spec))
        case _:
            raise ValueError("each form of an any_of must be a kind and a spec")
    if not grammar.startswith("{"):
        return {"name": name, "lark_grammar": grammar}
    [only] = json.loads(grammar)["grammars"]
    return {**only, "name": name}


def one_line(text: str) -> str:
    """A message that fits an error: short, and without line breaks."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_MESSAGE_CHARS else line[:MAX_MESSAGE_CHARS] + "..."


def _json_schema_grammar(spec: str) -> str:
    if not isinstance(_parsed(spec), dict):
        raise ValueError("the schema must be a JSON object")
    return LLMatcher.grammar_from_json_schema(
        spec, defaults={"whitespace_pattern": _JSON_WHITESPACE, "coerce_one_of": True}
    )


def _json_object_grammar(spec: str) -> str:
    return _json_schema_grammar('{"type":"object"}')


def _choice_grammar(spec: str) -> str:
    choices = _parsed(spec)
    if not isinstance(choices, list) or not all(isinstance(one, str) for one in choices):
        raise ValueError("the choice must be a list of strings")
    if not choices:
        raise ValueError("the choice must have at least one string")
    # One lexeme: a rule with as many alternatives would be slow to parse.
    alternatives = " | ".join(json.dumps(one, ensure_ascii=False) for one in choices)
    return LLMatcher.grammar_from_lark(f"start: CHOICE\nCHOICE: {alternatives}")


def _lark_grammar(spec: str) -> str:
    is_gbnf = "::=" in _LITERALS.sub("", spec)
    grammar = grammar_from("gbnf" if is_gbnf else "lark", spec)
    if grammar.lstrip().startswith("{"):  # llguidance's own JSON, in which anything may stand
        raise ValueError("the grammar must be Lark or GBNF")
    if "<" in _LITERALS.sub("", grammar):
        raise ValueError("the grammar must not name special tokens")
    return grammar


def _parsed(spec: str) -> object:
    try:
        return json.loads(spec)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is no JSON: {one_line(str(error))}") from None


_WRITERS: dict[StructuredOutputKind, Callable[[str], str]] = {
    StructuredOutputKind.JSON_SCHEMA: _json_schema_grammar,
    StructuredOutputKind.JSON_OBJECT: _json_object_grammar,
    StructuredOutputKind.REGEX: LLMatcher.grammar_from_regex,
    StructuredOutputKind.CHOICE: _choice_grammar,
    StructuredOutputKind.GRAMMAR: _lark_grammar,
    StructuredOutputKind.CALLS: LLMatcher.grammar_from_lark,
}
