"""Requests for responses as requests for chats."""

from typing import Any

import pytest

from legato.deployments.openai.responses.request import (
    ReasoningOptions,
    ResponsesRequest,
    TextOptions,
)
from legato.deployments.openai.responses.translation import own_terms, to_chat_request
from legato.deployments.openai.schema import ChatMessage
from legato.deployments.openai.tool_use import ToolChoice, read_tool_use
from legato.engine.errors import ContextLengthError, InvalidRequestError

HI = [ChatMessage("user", "hi")]
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "name": "a", "description": "d", "strict": True},
    {"type": "function", "name": "b", "parameters": {"type": "object"}},
]


def test_what_both_endpoints_have_goes_over_as_it_is() -> None:
    body = ResponsesRequest(temperature=0.5, top_k=3, stop=["a"], seed=4, stream=True, model="m")
    chat = to_chat_request(body, HI)
    assert (chat.temperature, chat.top_k, chat.stop, chat.seed) == (0.5, 3, ["a"], 4)
    assert chat.stream and chat.model == "m" and chat.messages is HI


def test_what_has_another_name_there_gets_it() -> None:
    body = ResponsesRequest(
        max_output_tokens=7, top_logprobs=2, reasoning=ReasoningOptions("low"), tools=TOOLS
    )
    chat = to_chat_request(body, HI)
    assert (chat.max_completion_tokens, chat.max_tokens) == (7, None)
    assert (chat.logprobs, chat.top_logprobs) == (True, 2)
    assert chat.reasoning_effort == "low"
    assert chat.tools == [
        {"type": "function", "function": {"name": "a", "description": "d", "strict": True}},
        {"type": "function", "function": {"name": "b", "parameters": {"type": "object"}}},
    ]


def test_log_probabilities_are_told_where_they_are_asked_for() -> None:
    include = ["message.output_text.logprobs"]
    assert to_chat_request(ResponsesRequest(include=include), HI).logprobs
    assert not to_chat_request(ResponsesRequest(top_logprobs=0), HI).logprobs


@pytest.mark.parametrize(
    ("choice", "expected", "names"),
    [
        ("auto", ToolChoice.AUTO, {"a", "b"}),
        ("required", ToolChoice.REQUIRED, {"a", "b"}),
        ({"type": "function", "name": "b"}, ToolChoice.NAMED, {"b"}),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "a"}],
            },
            ToolChoice.REQUIRED,
            {"a"},
        ),
    ],
)
def test_a_choice_of_tools_means_the_same(
    choice: Any, expected: ToolChoice, names: set[str]
) -> None:
    chat = to_chat_request(ResponsesRequest(tools=TOOLS, tool_choice=choice), HI)
    use = read_tool_use(chat.tools, chat.tool_choice)
    assert use is not None and use.choice is expected
    assert set(use.names) == names


def test_a_format_is_the_chats_response_format() -> None:
    given = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    chat = to_chat_request(ResponsesRequest(text=TextOptions(given)), HI)
    assert chat.response_format == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
    }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (ResponsesRequest(tools=[{"type": "mcp"}]), "tools[0].type"),
        (ResponsesRequest(tools=[{**TOOLS[0], "description": 5}]), "tools[0].description"),
        (ResponsesRequest(tool_choice={"type": "function"}), "tool_choice"),
        (
            ResponsesRequest(
                tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}
            ),
            "tool_choice.tools",
        ),
        (ResponsesRequest(text=TextOptions({"type": "json_schema"})), "text.format.name"),
    ],
)
def test_what_cannot_be_said_in_a_chat_is_refused(body: ResponsesRequest, param: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        to_chat_request(body, HI)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("param", "own"),
    [
        ("messages[3].content", "input"),
        ("max_completion_tokens", "max_output_tokens"),
        ("max_tokens", "max_output_tokens"),
        ("response_format.json_schema.schema", "text.format.schema"),
        ("response_format.type", "text.format.type"),
        ("tools[1].function.parameters", "tools[1].parameters"),
        ("logprobs", "top_logprobs"),
        ("temperature", "temperature"),
        (None, None),
    ],
)
def test_errors_come_back_in_the_terms_of_this_endpoint(param: str | None, own: str | None) -> None:
    with pytest.raises(ContextLengthError) as refusal, own_terms():
        raise ContextLengthError("too long", param)
    assert refusal.value.param == own
