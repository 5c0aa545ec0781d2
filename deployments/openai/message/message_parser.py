"""From a model's text to the parts of a message: reasoning, then the answer with its calls."""

from dataclasses import dataclass

from legato.deployments.openai.message.call_numbers import CallNumbers
from legato.deployments.openai.message.parts import Part, ReasoningPart, TextPart
from legato.deployments.openai.message.reasoning import ReasoningSplitter, ThinkTags
from legato.deployments.openai.message.tool_parser import ToolParser
from legato.deployments.openai.message.tool_syntax import ToolSyntax
from legato.engine.detokenizer import StopStrings


@dataclass(frozen=True, slots=True)
class CallReading:
    """How the calls of one request's answers are read."""

    syntax: ToolSyntax
    names: frozenset[str]  # of the tools that the request offers
    is_parallel: bool = True
    has_short_ids: bool = False
    ends_as_stop: bool = False  # the client named the function: a call is then the plain answer


@dataclass(frozen=True, slots=True)
class MessageReading:
    """How one request's answers are read."""

    think_tags: ThinkTags | None = None
    starts_thinking: bool = False  # the prompt has opened the tag
    shows_reasoning: bool = True
    calls: CallReading | None = None
    streams: bool = False


class MessageParser:
    """Follows one answer.

    Args:
        stops: the client's stop strings, which end the answer and mean nothing in a thought.
    """

    def __init__(self, reading: MessageReading, stops: StopStrings | None = None) -> None:
        self._reading = reading
        self._stops = stops
        self._reasoning: ReasoningSplitter | None = None
        self._calls: CallNumbers | None = None
        self._tools: ToolParser | None = None
        if (tags := reading.think_tags) is not None:
            self._reasoning = ReasoningSplitter(tags, reading.starts_thinking)
        if (calls := reading.calls) is not None:
            self._calls = CallNumbers(calls.names, calls.is_parallel, calls.has_short_ids)
            self._tools = ToolParser(calls.syntax, self._calls, reading.streams)

    @property
    def is_thinking(self) -> bool:
        """Whether the text has come to a thought, and to no answer yet."""
        return self._reasoning is not None and self._reasoning.is_inside

    @property
    def stop(self) -> str | None:
        """The stop string that ended the answer; what follows it is nothing."""
        return self._stops.found if self._stops is not None else None

    @property
    def has_called(self) -> bool:
        """Whether there has been a call."""
        return self._calls is not None and self._calls.count > 0

    def feed(self, text: str) -> list[Part]:
        """Takes more text; gives the parts that it releases."""
        parts: list[Part] = []
        if self._reasoning is not None:
            reasoning, text = self._reasoning.feed(text)
            self._add_reasoning(reasoning, parts)
        self._add_answer(text, parts)
        return parts

    def finish(self) -> list[Part]:
        """No more text comes: nothing is held back any more."""
        parts: list[Part] = []
        if self._reasoning is not None:
            reasoning, text = self._reasoning.finish()
            self._add_reasoning(reasoning, parts)
            self._add_answer(text, parts)
        if self._stops is not None:
            self._read_answer(self._stops.rest(), parts)
        if self._tools is not None:
            parts += self._tools.finish()
        return parts

    def _add_reasoning(self, text: str, parts: list[Part]) -> None:
        if text and self._reading.shows_reasoning:
            parts.append(ReasoningPart(text))

    def _add_answer(self, text: str, parts: list[Part]) -> None:
        if self._stops is not None:
            text = "" if self._stops.found is not None else self._stops.push(text)
        self._read_answer(text, parts)

    def _read_answer(self, text: str, parts: list[Part]) -> None:
        if not text:
            return
        if self._tools is not None:
            parts += self._tools.feed(text)
        else:
            parts.append(TextPart(text))
