"""Conversations, with tools and thoughts in them."""

import json
from typing import Any

import jinja2
import pytest

from legato.deployments.openai.conversation import to_conversation
from legato.deployments.openai.schema import ChatMessage, ContentPart, FunctionCall, ToolCall
from legato.engine.errors import InvalidRequestError


def _turn_with(arguments: str | dict[str, Any] | None) -> dict[str, Any]:
    call = ToolCall(FunctionCall("f", arguments), id="call_1")
    [turn] = to_conversation([ChatMessage("assistant", tool_calls=[call])])
    return turn


def test_text_parts_are_joined_and_an_assistant_may_be_silent() -> None:
    parts = [ContentPart("text", "a"), ContentPart("text", "b")]
    messages = [ChatMessage("user", parts, name="ann"), ChatMessage("assistant")]
    assert to_conversation(messages) == [
        {"role": "user", "content": "ab", "name": "ann"},
        {"role": "assistant", "content": ""},
    ]


def test_a_call_and_its_result_reach_the_template_with_their_id() -> None:
    turn = _turn_with('{"city": "Oslo"}')
    assert turn["content"] is None
    assert turn["tool_calls"] == [
        {
            "type": "function",
            "id": "call_1",
            "function": {"name": "f", "arguments": {"city": "Oslo"}},
        }
    ]
    [result] = to_conversation([ChatMessage("tool", "sunny", tool_call_id="call_1")])
    assert result == {"role": "tool", "content": "sunny", "tool_call_id": "call_1"}


@pytest.mark.parametrize(
    "template", ["{{ a | tojson }}", "{{ 'x' + a }}", "{{ a + 'x' }}", "{{ a }}", "{{ a.items() }}"]
)
def test_arguments_are_an_object_and_a_text_as_templates_want(template: str) -> None:
    arguments = _turn_with('{"city":"Oslo"}')["tool_calls"][0]["function"]["arguments"]
    text = jinja2.Template(template).render(a=arguments).strip("x")
    expected = '{"city":"Oslo"}' if "items" not in template else "dict_items([('city', 'Oslo')])"
    assert text.replace(": ", ":") == expected


@pytest.mark.parametrize("arguments", [None, "", "{}", {}])
def test_missing_arguments_are_an_empty_object(arguments: Any) -> None:
    assert _turn_with(arguments)["tool_calls"][0]["function"]["arguments"] == {}


@pytest.mark.parametrize("arguments", ['{"a": ', "5", "plain"])
def test_broken_arguments_that_a_model_wrote_can_be_sent_back(arguments: str) -> None:
    assert _turn_with(arguments)["tool_calls"][0]["function"]["arguments"] == arguments


def test_a_thought_is_taken_under_both_of_its_names() -> None:
    both = [
        ChatMessage("assistant", "b", reasoning="a"),
        ChatMessage("assistant", "b", reasoning_content="a"),
    ]
    first, second = to_conversation(both)
    assert first == second
    assert (first["reasoning"], first["reasoning_content"]) == ("a", "a")


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (ChatMessage("tool"), "messages[0].content"),
        (ChatMessage("function", "a"), "messages[0].role"),
        (ChatMessage("assistant", function_call={}), "messages[0].function_call"),
        (
            ChatMessage("assistant", tool_calls=[ToolCall(FunctionCall("f"), type="custom")]),
            "messages[0].tool_calls[0].type",
        ),
    ],
)
def test_what_no_template_knows_is_refused_by_its_place(message: ChatMessage, param: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        to_conversation([message])
    assert refusal.value.param == param


def test_arguments_are_valid_json_as_text() -> None:
    arguments = _turn_with('{"a": ["ß", null]}')["tool_calls"][0]["function"]["arguments"]
    assert json.loads(str(arguments)) == {"a": ["ß", None]}
