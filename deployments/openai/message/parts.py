"""What a model's text means to a client: pieces of a message, in the order of their generation.

    text ──> MessageParser ──> ReasoningPart, TextPart, CallOpened, CallArguments, ...

A call opens once and its arguments follow, in one piece or in many, before the next call opens.
The parts of a stream, joined, are the message that is not streamed. No schema is known here.
"""

import msgspec


class TextPart(msgspec.Struct, frozen=True):
    """More of the answer itself."""

    text: str


class ReasoningPart(msgspec.Struct, frozen=True):
    """More of what the model thought before it answered."""

    text: str


class CallOpened(msgspec.Struct, frozen=True):
    """A call begins; `index` counts the message's calls from 0."""

    index: int
    call_id: str
    name: str


class CallArguments(msgspec.Struct, frozen=True):
    """More of a call's arguments, which are JSON text when they are complete."""

    index: int
    text: str


Part = TextPart | ReasoningPart | CallOpened | CallArguments


def join_parts(parts: list[Part]) -> list[Part]:
    """The same message in as few parts as can be: neighbours of one kind become one."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        match part, last:
            case TextPart(), TextPart():
                joined[-1] = TextPart(last.text + part.text)
            case ReasoningPart(), ReasoningPart():
                joined[-1] = ReasoningPart(last.text + part.text)
            case CallArguments(), CallArguments() if last.index == part.index:
                joined[-1] = CallArguments(part.index, last.text + part.text)
            case _:
                joined.append(part)
    return joined
