"""The parts of a message in the schema of chat completions, as a delta and as a whole.

Reasoning has two names in the world, and clients that know the one or the other: both are sent.
"""

from typing import Any

from legato.deployments.openai.answer_format import encode_json
from legato.deployments.openai.choice import ChoiceDelta
from legato.deployments.openai.message.parts import (
    CallArguments,
    CallOpened,
    Part,
    ReasoningPart,
    TextPart,
)


def finish_reason(choice: ChoiceDelta) -> str | None:
    return "tool_calls" if choice.ends_in_calls else choice.finish_reason


def part_delta(part: Part) -> bytes:
    """The delta of a chunk. A call's id and name come once, its arguments in pieces."""
    match part:
        case TextPart(text):
            return encode_json({"content": text})
        case ReasoningPart(text):
            return encode_json({"reasoning": text, "reasoning_content": text})
        case CallOpened(index):
            return encode_json({"tool_calls": [{"index": index, **_opened(part)}]})
        case CallArguments(index, text):
            return encode_json({"tool_calls": [{"index": index, "function": {"arguments": text}}]})


def whole_message(choice: ChoiceDelta) -> dict[str, Any]:
    """The message of an answer that is not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
    if choice.parts is None:
        return message
    text, reasoning = "", ""
    calls: list[dict[str, Any]] = []
    for part in choice.parts:
        match part:
            case TextPart(more):
                text += more
            case ReasoningPart(more):
                reasoning += more
            case CallOpened():
                calls.append(_opened(part))
            case CallArguments(_, more):
                calls[-1]["function"]["arguments"] += more
    message["content"] = text if text or not calls else None
    if reasoning:
        message |= {"reasoning": reasoning, "reasoning_content": reasoning}
    return message | ({"tool_calls": calls} if calls else {})


def _opened(call: CallOpened) -> dict[str, Any]:
    function = {"name": call.name, "arguments": ""}
    return {"id": call.call_id, "type": "function", "function": function}
