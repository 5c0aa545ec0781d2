"""A conversation as clients send it, to the turns that chat templates take.

Templates of different models read the arguments of earlier calls as an object, or as JSON text; a
turn holds them so that both is right. The module renders nothing.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from legato.deployments.openai.schema import ChatMessage, FunctionCall
from legato.engine.errors import InvalidRequestError

ROLES = ("system", "developer", "user", "assistant", "tool")

Turn = dict[str, Any]  # role, content, and what else the message has


class Arguments(dict[str, Any]):
    """Arguments of a call: an object, and its JSON text wherever a text is wanted."""

    def __str__(self) -> str:
        return msgspec.json.encode(self).decode()

    def __add__(self, text: str) -> str:
        return str(self) + text

    def __radd__(self, text: str) -> str:
        return text + str(self)


def to_conversation(messages: Sequence[ChatMessage]) -> list[Turn]:
    """The messages as chat templates take them: role, one text, calls.

    Raises:
        InvalidRequestError: no messages, an unknown role, or content that is not text.
    """
    if not messages:
        raise InvalidRequestError("must not be empty", "messages")
    return [_to_turn(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _to_turn(message: ChatMessage, place: str) -> Turn:
    if message.role not in ROLES:
        raise InvalidRequestError(f"must be one of {', '.join(ROLES)}", f"{place}.role")
    if message.function_call is not None:
        raise InvalidRequestError("is not supported, use tool_calls", f"{place}.function_call")
    turn: Turn = {"role": message.role, "content": _to_text(message, place)}
    if message.name is not None:
        turn["name"] = message.name
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.role == "assistant":
        _add_what_models_make(turn, message, place)
    return turn


def _add_what_models_make(turn: Turn, message: ChatMessage, place: str) -> None:
    reasoning = message.reasoning or message.reasoning_content
    if reasoning:
        turn |= {"reasoning": reasoning, "reasoning_content": reasoning}
    if not message.tool_calls:
        return
    if message.content is None:
        turn["content"] = None  # some templates tell calls from answers by that
    for i, call in enumerate(message.tool_calls):
        if call.type != "function":
            kind = f"{place}.tool_calls[{i}].type"
            raise InvalidRequestError("only 'function' is supported", kind)
    turn["tool_calls"] = [
        {
            "type": "function",
            "id": call.id,
            "function": {"name": call.function.name, "arguments": _arguments(call.function)},
        }
        for call in message.tool_calls
    ]


def _arguments(call: FunctionCall) -> Arguments | str:
    """What is no JSON object stays a text: it may be what a model wrote, sent back."""
    if not call.arguments:
        return Arguments()
    if isinstance(call.arguments, dict):
        return Arguments(call.arguments)
    try:
        return Arguments(msgspec.json.decode(call.arguments, type=dict[str, Any]))
    except (msgspec.DecodeError, RecursionError):
        return call.arguments


def _to_text(message: ChatMessage, place: str) -> str:
    if message.content is None:
        if message.role == "assistant":
            return ""
        raise InvalidRequestError("this field is required", f"{place}.content")
    if isinstance(message.content, str):
        return message.content
    texts = []
    for i, part in enumerate(message.content):
        if part.type != "text":
            raise InvalidRequestError(
                f"parts of type {part.type[:40]!r} are not supported, only 'text'",
                f"{place}.content[{i}].type",
            )
        if part.text is None:
            raise InvalidRequestError("this field is required", f"{place}.content[{i}].text")
        texts.append(part.text)
    return "".join(texts)
