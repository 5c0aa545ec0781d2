"""What a model is held to that has to call, against what is read of it."""

import json
from typing import Any

import pytest
from llguidance import LLMatcher
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from legato.deployments.openai.call_grammar import CallGrammar
from legato.deployments.openai.constraint import Constraint
from legato.deployments.openai.message.tool_syntax import (
    DEEPSEEK,
    FORCED,
    HERMES,
    LLAMA3_JSON,
    MISTRAL,
    PYTHONIC,
    ToolSyntax,
)
from legato.engine.errors import InvalidRequestError
from legato.engine.grammar_compiler import GrammarCompiler, load_vocabulary
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind
from legato.engine.tokenizer import Tokenizer
from legato.tests.deployments.openai.harness import tiny_tokenizer
from legato.tests.deployments.openai.message.reading import read


def _tool(name: str, **properties: Any) -> dict[str, Any]:
    required = list(properties)
    schema = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = [_tool("get_weather", city={"type": "string"}), _tool("add", a={"$ref": "#/$defs/number"})]
TOOLS[1]["function"]["parameters"]["$defs"] = {"number": {"type": "integer"}}
ONE = [("get_weather", '{"city": "Oslo"}')]
TWO = [*ONE, ("add", '{"a": 5}')]
MARKERS = sorted({mark for one in (HERMES, MISTRAL, DEEPSEEK) for mark in one.markers if mark[1:]})


def _object(call: tuple[str, str], key: str = "arguments") -> str:
    return f'{{"name": "{call[0]}", "{key}": {call[1]}}}'


def _written(calls: list[tuple[str, str]]) -> list[tuple[ToolSyntax, str]]:
    """As each model writes them."""
    objects = [_object(call) for call in calls]
    v3 = [
        f"<|tool▁call▁begin|>function<|tool▁sep|>{name}\n```json\n{given}\n```<|tool▁call▁end|>"
        for name, given in calls
    ]
    v31 = [
        f"<|tool▁call▁begin|>{name}<|tool▁sep|>{given}<|tool▁call▁end|>" for name, given in calls
    ]
    begin, end = "<|tool▁calls▁begin|>", "<|tool▁calls▁end|>"
    keywords = {"get_weather": 'city="Oslo"', "add": "a=5"}
    return [
        (HERMES, "\n".join(f"<tool_call>\n{one}\n</tool_call>" for one in objects)),
        (HERMES.when_forced, "\n</tool_call>\n<tool_call>\n".join(objects) + "\n</tool_call>"),
        (LLAMA3_JSON, "; ".join(_object(call, "parameters") for call in calls)),
        (MISTRAL, f"[TOOL_CALLS][{', '.join(objects)}]"),
        (MISTRAL, "".join(f"[TOOL_CALLS]{name}[ARGS]{given}" for name, given in calls)),
        (DEEPSEEK, f"{begin}{chr(10).join(v3)}{end}".replace("|", "\uff5c")),
        (DEEPSEEK, f"{begin}{''.join(v31)}{end}".replace("|", "\uff5c")),
        (PYTHONIC, f"[{', '.join(f'{name}({keywords[name]})' for name, _ in calls)}]"),
        (PYTHONIC.when_forced, "\n".join(objects)),
        (FORCED, "\n".join(objects)),
    ]


def _with_markers() -> PreTrainedTokenizerFast:
    """One that has the markers as tokens, as most models that call have."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer().backend_tokenizer)
    special = [AddedToken(mark, special=mark.startswith("[")) for mark in MARKERS]
    tokenizer.add_tokens(special)
    return tokenizer


PLAIN, MARKED = tiny_tokenizer(), _with_markers()


def _accepts(constraint: Constraint, hf: PreTrainedTokenizerFast, text: str) -> bool:
    tokenizer = Tokenizer(hf)
    compiler = GrammarCompiler(lambda: load_vocabulary(tokenizer))
    compiler.compile_check(constraint.output, constraint.param)
    matcher: LLMatcher = compiler.start(constraint.output).matcher
    token_ids = tokenizer.encode_plain(text)
    return matcher.try_consume_tokens(token_ids) == len(token_ids) and matcher.is_accepting()


def _grammar(syntax: ToolSyntax, hf: PreTrainedTokenizerFast, parallel: bool = True) -> CallGrammar:
    return CallGrammar(syntax, dict(hf.get_added_vocab()), parallel)


@pytest.mark.parametrize("hf", [PLAIN, MARKED], ids=["plain", "marked"])
@pytest.mark.parametrize("calls", [ONE, TWO])
def test_what_the_grammar_lets_a_model_write_is_read_as_these_calls(
    hf: PreTrainedTokenizerFast, calls: list[tuple[str, str]]
) -> None:
    for syntax, text in _written(calls):
        assert _accepts(_grammar(syntax, hf).constraint(TOOLS), hf, text), text
        _, content, found = read(text, syntax)
        assert content == "" and len(found) == len(calls)
        for (name, given), (called, arguments) in zip(calls, found, strict=True):
            assert (called, json.loads(arguments)) == (name, json.loads(given))


def test_there_is_one_call_where_there_may_be_one_alone() -> None:
    for (syntax, one), (_, two) in zip(_written(ONE), _written(TWO), strict=True):
        constraint = _grammar(syntax, MARKED, parallel=False).constraint(TOOLS)
        assert _accepts(constraint, MARKED, one), one
        assert not _accepts(constraint, MARKED, two), two


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ('{"name": "get_weather", "arguments": {"city": "Oslo"}}', True),
        ('{"name": "add", "arguments": {"a": 5}}', True),
        ('{"name": "add", "arguments": {"a": "5"}}', False),
        ('{"name": "get_weather", "arguments": {}}', False),
        ('{"name": "nobody", "arguments": {}}', False),
        ("Hello", False),
    ],
)
def test_a_call_is_of_one_of_the_tools_and_keeps_to_its_schema(text: str, fits: bool) -> None:
    assert _accepts(_grammar(FORCED, PLAIN).constraint(TOOLS), PLAIN, text) == fits


def test_keywords_have_the_values_of_their_schemas() -> None:
    tools = [*TOOLS, {"type": "function", "function": {"name": "now"}}]
    constraint = _grammar(PYTHONIC, PLAIN).constraint(tools)
    assert _accepts(constraint, PLAIN, '[add(a=-3), now(), get_weather(city="a")]')
    for text in ('[add(a="x")]', "[add(b=1)]", "[now(a=1)]", "[nobody()]", "add(a=1)"):
        assert not _accepts(constraint, PLAIN, text), text


def test_a_form_or_calls_is_one_of_both_and_no_mixture() -> None:
    form = Constraint(StructuredOutput(StructuredOutputKind.REGEX, "yes|no"), "structured_outputs")
    for syntax, text in _written(ONE):
        both = Constraint.any_of(form, _grammar(syntax, MARKED).constraint(TOOLS))
        assert _accepts(both, MARKED, text) and _accepts(both, MARKED, "no")
        assert not _accepts(both, MARKED, "no" + text) and not _accepts(both, MARKED, "maybe")


def test_a_name_that_a_syntax_has_no_place_for_is_refused() -> None:
    tools = [_tool("two words")]
    with pytest.raises(InvalidRequestError, match="names"):
        _grammar(DEEPSEEK, PLAIN).constraint(tools)
    text = '[TOOL_CALLS][{"name": "two words", "arguments": {}}]'
    assert _accepts(_grammar(MISTRAL, PLAIN).constraint(tools), PLAIN, text)
