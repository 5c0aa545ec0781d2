"""Calls of each family of models, however their text is cut."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legato.deployments.openai.message.message_parser import CallReading, MessageReading
from legato.deployments.openai.message.parts import CallArguments, CallOpened, TextPart, join_parts
from legato.deployments.openai.message.tool_syntax import (
    DEEPSEEK,
    FORCED,
    HERMES,
    LLAMA3_JSON,
    MISTRAL,
    PYTHONIC,
    ToolSyntax,
)
from legato.tests.deployments.openai.message.reading import (
    NAMES,
    calls_of,
    message_of,
    parts_of,
    read,
)

OSLO = '{"city": "Oslo \\"{]\\" 5 °"}'
SUM = '{"a": [1, {"b": 2}], "c": "</tool_cal"}'


def _call(name: str, arguments: str, key: str = "arguments") -> str:
    return f'{{"name": "{name}", "{key}": {arguments}}}'


def _deepseek(*calls: str) -> str:
    text = f"<|tool▁calls▁begin|>{''.join(calls)}<|tool▁calls▁end|>"
    return text.replace("|", "\uff5c")


def _v3(name: str, arguments: str) -> str:
    head = f"<|tool▁call▁begin|>function<|tool▁sep|>{name}\n```json\n"
    return f"{head}{arguments}\n```<|tool▁call▁end|>"


def _v31(name: str, arguments: str) -> str:
    return f"<|tool▁call▁begin|>{name}<|tool▁sep|>{arguments}<|tool▁call▁end|>"


TOKENS = DEEPSEEK.markers
ONE = [("get_weather", OSLO)]
TWO = [("get_weather", OSLO), ("add", SUM)]
GOOD: list[tuple[ToolSyntax, str, str, list[tuple[str, str]]]] = [
    (HERMES, f"<tool_call>\n{_call('get_weather', OSLO)}\n</tool_call>", "", ONE),
    (
        HERMES,
        f"Let me see.\n\n<tool_call>\n{_call('get_weather', OSLO)}\n</tool_call>\n"
        f"<tool_call>{_call('add', SUM)}</tool_call>\n",
        "Let me see.",
        TWO,
    ),
    (HERMES, f"<tool_call>{_call('get_weather', OSLO)} and done", "and done", ONE),
    (HERMES, f"<tool_call>{_call('other', '{}')}</tool_call>", "", [("other", "{}")]),
    (LLAMA3_JSON, _call("get_weather", OSLO, "parameters"), "", ONE),
    (LLAMA3_JSON, f"<|python_tag|>{_call('get_weather', OSLO, 'parameters')}", "", ONE),
    (
        LLAMA3_JSON,
        f"{_call('get_weather', OSLO, 'parameters')}; {_call('add', SUM, 'parameters')}",
        "",
        TWO,
    ),
    (MISTRAL, f"[TOOL_CALLS][{_call('get_weather', OSLO)}, {_call('add', SUM)}]", "", TWO),
    (MISTRAL, f"[TOOL_CALLS]get_weather[ARGS]{OSLO}[TOOL_CALLS]add[ARGS]{SUM}", "", TWO),
    (MISTRAL, f"Well. [TOOL_CALLS]get_weather[CALL_ID]abc123def[ARGS]{OSLO}", "Well.", ONE),
    (DEEPSEEK, _deepseek(_v3("get_weather", OSLO), "\n", _v3("add", SUM)), "", TWO),
    (DEEPSEEK, "Now:" + _deepseek(_v31("get_weather", OSLO), _v31("add", SUM)), "Now:", TWO),
    (FORCED, _call("get_weather", OSLO), "", ONE),
]


@pytest.mark.parametrize(("syntax", "text", "content", "calls"), GOOD)
def test_calls_are_read_and_no_marker_leaks(
    syntax: ToolSyntax, text: str, content: str, calls: list[tuple[str, str]]
) -> None:
    assert read(text, syntax) == ("", content, calls)


PLAIN = [
    (HERMES, "a < b, <tool_ and <tools>"),
    (HERMES, "<tool_call>no object</tool_call> after"),
    (HERMES, "first <tool_call>\n\n oops"),
    (LLAMA3_JSON, '{"name": "Anna", "age": 5}'),
    (LLAMA3_JSON, '{"name": "nobody", "parameters": {}}'),
    (LLAMA3_JSON, 'text before {"name": "add", "parameters": {}}'),
    (LLAMA3_JSON, '{"open": '),
    (MISTRAL, "[TOOL_CALLS]" + "word " * 200),
    (MISTRAL, "see [1] and [TOOL"),
    (DEEPSEEK, _deepseek("nothing of the kind")),
    (HERMES, "trailing space stays \n"),
]


@pytest.mark.parametrize(("syntax", "text"), PLAIN)
def test_what_is_no_call_stays_text_to_the_last_character(syntax: ToolSyntax, text: str) -> None:
    assert read(text, syntax) == ("", text, [])


@pytest.mark.parametrize(
    "call",
    [
        '{"name": "add", "arguments": {"a": wrong}}',
        '{"name": "add", "arguments": {"a": 1}',
        '{"name": "add", "arguments": [1]}',
        '{"arguments": {}}',
        '{"name": 5, "arguments": {}}',
    ],
)
def test_a_malformed_call_comes_back_whole_as_text_without_a_stream(call: str) -> None:
    reading = MessageReading(calls=calls_of(HERMES))
    text = f"<tool_call>\n{call}\n</tool_call>"
    assert join_parts(parts_of([text], reading)) == [TextPart(text)]


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ('{"name": "add"}', "{}"),
        ('{"name": "add", "arguments": null}', "{}"),
        ('{"arguments": {"a": 1}, "name": "add"}', '{"a":1}'),
        ('{"name": "add", "arguments": "{\\"a\\": 1}"}', '{"a":1}'),
        ('{"type": "function", "name": "add", "parameters": {"a": 1}}', '{"a": 1}'),
        ('{"name": "add", "arguments": {"a": 1}, "id": "x"}', '{"a": 1}'),
    ],
)
def test_a_call_in_an_unusual_order_is_a_call(call: str, arguments: str) -> None:
    assert read(f"<tool_call>{call}</tool_call>", HERMES) == ("", "", [("add", arguments)])


def test_a_good_call_after_a_malformed_one_is_read() -> None:
    text = f"<tool_call>bad</tool_call> so: <tool_call>{_call('add', SUM)}</tool_call>"
    assert read(text, HERMES) == ("", "<tool_call>bad</tool_call> so:", [("add", SUM)])


def test_only_the_first_call_is_given_where_one_is_allowed() -> None:
    text = f"<tool_call>{_call('add', SUM)}</tool_call><tool_call>{_call('add', OSLO)}</tool_call>"
    assert read(text, HERMES, is_parallel=False) == ("", "", [("add", SUM)])


def test_in_a_stream_the_name_comes_as_soon_as_it_is_known_and_arguments_in_pieces() -> None:
    reading = MessageReading(calls=calls_of(HERMES), streams=True)
    parts = parts_of(list(f"<tool_call>{_call('add', SUM)}</tool_call>"), reading)
    opened, *pieces = parts
    assert isinstance(opened, CallOpened) and opened.name == "add"
    assert len(pieces) == len(SUM)
    assert "".join(p.text for p in pieces if isinstance(p, CallArguments)) == SUM


@pytest.mark.parametrize(("is_short", "pattern"), [(True, r"\w{9}"), (False, r"call_\w{24}")])
def test_ids_differ_and_are_short_where_the_template_wants_them_so(
    is_short: bool, pattern: str
) -> None:
    calls = CallReading(MISTRAL, NAMES, has_short_ids=is_short)
    text = f"[TOOL_CALLS][{_call('add', SUM)}, {_call('add', SUM)}]"
    parts = parts_of([text], MessageReading(calls=calls))
    ids = [part.call_id for part in parts if isinstance(part, CallOpened)]
    assert len(set(ids)) == 2
    assert all(re.fullmatch(pattern, call_id) for call_id in ids)


def test_a_long_malformed_text_is_read_in_time() -> None:
    text = "<tool_call>" + '{"name": "add", "arguments": {' + '"a": [' * 20_000
    for streams in (True, False):
        parts_of([text], MessageReading(calls=calls_of(HERMES), streams=streams))


FRAGMENTS = st.sampled_from(
    [
        *(
            "<tool_call>",
            "</tool_call>",
            "<|python_tag|>",
            "[TOOL_CALLS]",
            "[ARGS]",
            "```",
            *TOKENS,
        ),
        *(
            '{"name": "add", "arguments": {',
            '{"name": "add"',
            '"arguments": ',
            "add",
            "add(",
            "a=1",
        ),
        *("<|python_start|>", "<|python_end|>", "<tool", "🎉"),
        *'\n {}[]()",;\\a',
    ]
)


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("syntax", [HERMES, LLAMA3_JSON, MISTRAL, DEEPSEEK, PYTHONIC, FORCED])
@settings(max_examples=60, deadline=None)
@given(pieces=st.lists(FRAGMENTS, max_size=14))
def test_no_text_is_a_fault_and_none_depends_on_how_it_is_cut(
    syntax: ToolSyntax, streams: bool, pieces: list[str]
) -> None:
    reading = MessageReading(calls=calls_of(syntax), streams=streams)
    text = "".join(pieces)
    messages = [message_of(parts_of(cut, reading)) for cut in (pieces, [text], list(text))]
    assert messages[0] == messages[1] == messages[2]
