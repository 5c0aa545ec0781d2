"""Reads texts as a model would write them: whole, by the character, and in random pieces."""

from collections.abc import Iterator, Sequence
from random import Random

from legato.deployments.openai.message.message_parser import (
    CallReading,
    MessageParser,
    MessageReading,
)
from legato.deployments.openai.message.parts import (
    CallArguments,
    CallOpened,
    Part,
    ReasoningPart,
    TextPart,
)
from legato.deployments.openai.message.reasoning import ThinkTags
from legato.deployments.openai.message.tool_syntax import ToolSyntax

NAMES = frozenset({"get_weather", "add"})
Message = tuple[str, str, list[tuple[str, str]]]  # reasoning, text, calls: name and arguments


def calls_of(syntax: ToolSyntax, is_parallel: bool = True) -> CallReading:
    return CallReading(syntax, NAMES, is_parallel)


def cuts(text: str) -> Iterator[Sequence[str]]:
    """The text in one piece, in single characters, and in several random ways."""
    yield [text]
    yield list(text)
    for seed in range(20):
        random = Random(seed)
        points = sorted(random.choices(range(len(text) + 1), k=8))
        yield [text[a:b] for a, b in zip([0, *points], [*points, len(text)], strict=True) if a < b]


def parts_of(pieces: Sequence[str], reading: MessageReading) -> list[Part]:
    parser = MessageParser(reading)
    return [part for piece in pieces for part in parser.feed(piece)] + parser.finish()


def message_of(parts: Sequence[Part]) -> Message:
    """What a client puts together; calls come in order, and open before their arguments."""
    reasoning, text = "", ""
    calls: list[tuple[str, str]] = []
    for part in parts:
        match part:
            case ReasoningPart(more):
                reasoning += more
            case TextPart(more):
                text += more
            case CallOpened(index, _, name):
                assert index == len(calls)
                calls.append((name, ""))
            case CallArguments(index, more):
                assert index == len(calls) - 1
                calls[-1] = calls[-1][0], calls[-1][1] + more
    return reasoning, text, calls


def read(text: str, syntax: ToolSyntax, is_parallel: bool = True) -> Message:
    """The message, which is the same however the text is cut, streamed or not."""
    messages = [
        message_of(parts_of(pieces, MessageReading(calls=calls_of(syntax, is_parallel), streams=s)))
        for pieces in cuts(text)
        for s in (True, False)
    ]
    assert all(message == messages[0] for message in messages), messages
    return messages[0]


def think(text: str, tags: ThinkTags, is_opened: bool = False) -> tuple[str, str]:
    """Reasoning and answer, which are the same however the text is cut."""
    reading = MessageReading(tags, is_opened)
    messages = [message_of(parts_of(pieces, reading)) for pieces in cuts(text)]
    assert all(message == messages[0] for message in messages), messages
    return messages[0][:2]
