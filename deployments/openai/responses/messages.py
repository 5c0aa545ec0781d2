"""Items to the messages of a chat: one message of the assistant holds its thought, text and calls.

instructions           ─> system ┐ joined: templates take one message of the system, at most
system, developer ...  ─> system ┘
user                   ─> user
reasoning, message, function_call, function_call ...  ─> assistant
function_call_output   ─> tool
"""

from collections.abc import Sequence

import msgspec

from legato.deployments.openai.responses.items import (
    CallItem,
    CallOutputItem,
    Item,
    MessageItem,
    ReasoningItem,
)
from legato.deployments.openai.schema import ChatMessage, FunctionCall, ToolCall
from legato.engine.errors import InvalidRequestError

_INSTRUCTING = ("system", "developer")


def to_messages(instructions: str | None, items: Sequence[Item]) -> list[ChatMessage]:
    """The conversation as a chat.

    Raises:
        InvalidRequestError: there is none, or a call's output has no call before it.
    """
    messages = [ChatMessage("system", instructions)] if instructions else []
    names: dict[str, str] = {}  # of the functions that were called, by call id
    for item in items:
        match item:
            case MessageItem(role="assistant") | ReasoningItem():
                _add_said(item, messages)
            case MessageItem(role=role):
                messages.append(ChatMessage(role, item.text))
            case CallItem(call_id=call_id, name=name):
                names[call_id] = name
                _add_call(item, messages)
            case CallOutputItem():
                messages.append(_to_tool_message(item, names))
    if not messages:
        raise InvalidRequestError("must not be empty", "input")
    return _join_instructions(messages)


def _add_said(item: MessageItem | ReasoningItem, messages: list[ChatMessage]) -> None:
    """A thought opens a message of its own; a text joins the thought right before it."""
    if isinstance(item, ReasoningItem):
        if item.text:
            messages.append(ChatMessage("assistant", reasoning=item.text))
    elif messages and _is_mere_thought(messages[-1]):
        messages[-1] = msgspec.structs.replace(messages[-1], content=item.text)
    else:
        messages.append(ChatMessage("assistant", item.text))


def _is_mere_thought(message: ChatMessage) -> bool:
    return message.role == "assistant" and message.content is None and message.tool_calls is None


def _add_call(item: CallItem, messages: list[ChatMessage]) -> None:
    call = ToolCall(FunctionCall(item.name, item.arguments), item.call_id)
    if messages and messages[-1].role == "assistant":
        earlier = messages[-1].tool_calls or []
        messages[-1] = msgspec.structs.replace(messages[-1], tool_calls=[*earlier, call])
    else:
        messages.append(ChatMessage("assistant", tool_calls=[call]))


def _to_tool_message(item: CallOutputItem, names: dict[str, str]) -> ChatMessage:
    if item.call_id not in names:
        raise InvalidRequestError(f"no call {item.call_id[:80]!r} comes before its output", "input")
    return ChatMessage("tool", item.text, names[item.call_id], tool_call_id=item.call_id)


def _join_instructions(messages: list[ChatMessage]) -> list[ChatMessage]:
    count = next(
        (i for i, message in enumerate(messages) if message.role not in _INSTRUCTING),
        len(messages),
    )
    if count < 2:
        return messages
    texts = [str(message.content) for message in messages[:count]]
    return [ChatMessage(messages[0].role, "\n\n".join(texts)), *messages[count:]]
