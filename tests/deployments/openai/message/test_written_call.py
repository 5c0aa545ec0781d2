"""Calls as JSON objects."""

import pytest

from legato.deployments.openai.message.written_call import match_head, read_call


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"name": "f", "arguments": {', "f"),
        ('{ "type":"function" , "name" : "a\\"b" ,\n"parameters":{"x"', 'a"b'),
    ],
)
def test_a_head_is_known_before_its_arguments_come(text: str, name: str) -> None:
    head = match_head(text)
    assert head is not None
    assert head[0] == name
    assert text[head[1]] == "{"


@pytest.mark.parametrize(
    "text",
    ['{"name": "f", "arguments": ', '{"name": "f"}', '{"name": "f", "arguments": "{', "[", ""],
)
def test_a_head_needs_a_name_and_an_object(text: str) -> None:
    assert match_head(text) is None


@pytest.mark.parametrize(
    "text", ["{", "[]", "5", '{"name": ""}', '{"name": "f", "arguments": "x"}', '{"name": NaN}']
)
def test_anything_else_is_no_call(text: str) -> None:
    assert read_call(text) is None
