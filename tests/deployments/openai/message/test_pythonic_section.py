"""Calls that are written as a list of Python calls."""

import json
from typing import Any

import pytest

from legato.deployments.openai.message.message_parser import MessageReading
from legato.deployments.openai.message.pythonic_section import parse_calls
from legato.deployments.openai.message.tool_syntax import PYTHONIC
from legato.tests.deployments.openai.message.reading import calls_of, parts_of, read


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('[get_weather(city="Oslo")]', [("get_weather", {"city": "Oslo"})]),
        (
            "<|python_start|>[add(a=1, b=[1, {'x': -2.5}]), get_weather()]<|python_end|>",
            [("add", {"a": 1, "b": [1, {"x": -2.5}]}), ("get_weather", {})],
        ),
        (
            '[get_weather(city="it\'s ](", ok=true, no=null)]',
            [("get_weather", {"city": "it's ](", "ok": True, "no": None})],
        ),
    ],
)
def test_calls_are_read(text: str, calls: list[tuple[str, object]]) -> None:
    _, content, found = read(text, PYTHONIC)
    assert content == ""
    assert [(name, json.loads(arguments)) for name, arguments in found] == calls


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2, 3]",
        "[a link](https://example.org)",
        "[get_weather(5)]",
        "[get_weather(city=open('x'))]",
        "[get_weather(city=1 + 1)]",
        '[get_weather(city="Os',
        "[nobody(a=1)]",
        "[add(**{'a': 1})]",
        "[add(a=1), 5]",
        "[add(a={*()})]",
    ],
)
def test_what_is_no_call_stays_text_to_the_last_character(text: str) -> None:
    assert read(text, PYTHONIC) == ("", text, [])


def test_a_name_may_have_dots() -> None:
    assert parse_calls("[a.b(c=1)]") == [("a.b", '{"c":1}')]


@pytest.mark.parametrize("text", ["[add(a=" + "(" * 50_000, "[add(a='" + "x" * 70_000, "[add(\0)]"])
def test_hostile_text_is_text_in_no_time(text: str) -> None:
    reading: dict[str, Any] = {"calls": calls_of(PYTHONIC)}
    parts_of([text], MessageReading(**reading))
    assert not parse_calls(text)
