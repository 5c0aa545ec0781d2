"""A request for a response as the request for a chat that it is, and errors back in its own terms.

| response | chat |
|---|---|
| instructions, input | messages |
| tools[i].name, .parameters, ... | tools[i].function.name, ... |
| tool_choice.name | tool_choice.function.name |
| text.format | response_format |
| reasoning.effort | reasoning_effort |
| max_output_tokens | max_completion_tokens |
| include, top_logprobs | logprobs, top_logprobs |
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from legato.deployments.openai.responses.request import InputFields, ResponsesRequest
from legato.deployments.openai.schema import ChatMessage, ChatRequest, GenerationFields
from legato.engine.errors import InvalidRequestError, RequestError

_FUNCTION_FIELDS = ("name", "description", "parameters", "strict")
_OWN_NAMES = (
    (re.compile(r"^messages\b.*"), "input"),
    (re.compile(r"^max(_completion)?_tokens$"), "max_output_tokens"),
    (re.compile(r"^logprobs$"), "top_logprobs"),
    (re.compile(r"^response_format(\.json_schema)?"), "text.format"),
    (re.compile(r"^(tools\[\d+\])\.function"), r"\1"),
)


def to_chat_request(body: InputFields, messages: list[ChatMessage]) -> ChatRequest:
    """The chat whose answer is the response's.

    Raises:
        InvalidRequestError: a tool, the choice of one, or the format is malformed.
    """
    fields = {name: getattr(body, name) for name in GenerationFields.__struct_fields__}
    fields |= {
        "messages": messages,
        "tools": [_to_tool(tool, f"tools[{i}]") for i, tool in enumerate(body.tools or ())],
        "tool_choice": _to_tool_choice(body.tool_choice),
        "parallel_tool_calls": body.parallel_tool_calls,
        "chat_template_kwargs": body.chat_template_kwargs,
        "reasoning_effort": body.reasoning.effort if body.reasoning else None,
        "response_format": _to_response_format(body.text.format if body.text else None),
    }
    if isinstance(body, ResponsesRequest):
        fields |= {
            "max_completion_tokens": body.max_output_tokens,
            "logprobs": body.wants_logprobs,
            "top_logprobs": body.top_logprobs if body.wants_logprobs else None,
        }
    return ChatRequest(**fields)


@contextmanager
def own_terms() -> Iterator[None]:
    """Errors of the chat's path name the fields of a request for a response."""
    try:
        yield
    except RequestError as error:
        for pattern, own_name in _OWN_NAMES:
            error.param = pattern.sub(own_name, error.param) if error.param else None
        raise


def echoed_tools(tools: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """The tools as a response repeats them."""
    return [
        {
            "type": "function",
            "name": tool["name"],
            "description": tool.get("description"),
            "parameters": tool.get("parameters"),
            "strict": tool.get("strict") is True,
        }
        for tool in tools or ()
    ]


def _to_tool(tool: Mapping[str, Any], place: str) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise InvalidRequestError(
            f"{str(tool.get('type'))[:40]!r} is not supported, only 'function'", f"{place}.type"
        )
    if not isinstance(tool.get("description"), str | None):
        raise InvalidRequestError("must be a string", f"{place}.description")
    function = {name: tool[name] for name in _FUNCTION_FIELDS if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _to_tool_choice(choice: str | Mapping[str, Any] | None) -> str | dict[str, Any] | None:
    if choice is None or isinstance(choice, str):
        return choice
    match choice:
        case {"type": "function", "name": str(name)}:
            return _named(name)
        case {"type": "allowed_tools", "mode": mode, "tools": [*tools]}:
            allowed = [
                _named(str(tool.get("name")))
                for tool in tools
                if isinstance(tool, dict) and tool.get("type") == "function"
            ]
            if len(allowed) != len(tools):
                raise InvalidRequestError("must name functions", "tool_choice.tools")
            return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}
    raise InvalidRequestError("must name a function, or allowed tools", "tool_choice")


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def _to_response_format(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    if given.get("type") != "json_schema":
        return dict(given)
    name, schema = given.get("name"), given.get("schema")
    if not isinstance(name, str) or not name:
        raise InvalidRequestError("this field is required", "text.format.name")
    if not isinstance(schema, dict):
        raise InvalidRequestError("must be a JSON schema", "text.format.schema")
    json_schema = {"name": name, "schema": schema, "strict": given.get("strict")}
    return {"type": "json_schema", "json_schema": json_schema}
