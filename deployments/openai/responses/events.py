"""The events of a streamed response, by OpenAI's names, and how they are written.

    created, in_progress ─ item.added ─ part.added ─ delta ... ─ done ─ part.done ─ item.done ─ ...
                                                    ... ─ completed | incomplete | failed

An event does not know its number: whoever writes a stream counts.
"""

from collections.abc import Iterable, Sequence

import msgspec

from legato.deployments.openai.answer_format import encode_json
from legato.deployments.openai.logprobs import TokenLogprob
from legato.deployments.openai.responses.items import (
    OutputItem,
    OutputText,
    ReasoningText,
    SummaryText,
)
from legato.deployments.openai.responses.response_object import ResponseObject


class Event(msgspec.Struct, frozen=True, tag_field="type"):
    """The root."""


class LifecycleEvent(Event, frozen=True):
    """The response as a whole has come to a new state."""

    response: ResponseObject


class Created(LifecycleEvent, frozen=True, tag="response.created"): ...


class Queued(LifecycleEvent, frozen=True, tag="response.queued"): ...


class InProgress(LifecycleEvent, frozen=True, tag="response.in_progress"): ...


class Completed(LifecycleEvent, frozen=True, tag="response.completed"): ...


class Incomplete(LifecycleEvent, frozen=True, tag="response.incomplete"): ...


class Failed(LifecycleEvent, frozen=True, tag="response.failed"): ...


class ItemAdded(Event, frozen=True, tag="response.output_item.added"):
    output_index: int
    item: OutputItem


class ItemDone(Event, frozen=True, tag="response.output_item.done"):
    output_index: int
    item: OutputItem


class ItemEvent(Event, frozen=True):
    """Something of one item of the output."""

    item_id: str
    output_index: int


class PartAdded(ItemEvent, frozen=True, tag="response.content_part.added"):
    part: OutputText | ReasoningText
    content_index: int = 0


class PartDone(ItemEvent, frozen=True, tag="response.content_part.done"):
    part: OutputText | ReasoningText
    content_index: int = 0


class SlimTopLogprob(msgspec.Struct, frozen=True):
    token: str
    logprob: float


class SlimLogprob(msgspec.Struct, frozen=True):
    """What events have of a token's log probabilities; its bytes are in the item."""

    token: str
    logprob: float
    top_logprobs: tuple[SlimTopLogprob, ...]


class TextDelta(ItemEvent, frozen=True, tag="response.output_text.delta"):
    delta: str
    logprobs: tuple[SlimLogprob, ...] = ()
    content_index: int = 0


class TextDone(ItemEvent, frozen=True, tag="response.output_text.done"):
    text: str
    logprobs: tuple[SlimLogprob, ...] = ()
    content_index: int = 0


class ReasoningDelta(ItemEvent, frozen=True, tag="response.reasoning_text.delta"):
    delta: str
    content_index: int = 0


class ReasoningDone(ItemEvent, frozen=True, tag="response.reasoning_text.done"):
    text: str
    content_index: int = 0


class SummaryPartAdded(ItemEvent, frozen=True, tag="response.reasoning_summary_part.added"):
    part: SummaryText
    summary_index: int = 0


class SummaryPartDone(ItemEvent, frozen=True, tag="response.reasoning_summary_part.done"):
    part: SummaryText
    summary_index: int = 0


class SummaryDelta(ItemEvent, frozen=True, tag="response.reasoning_summary_text.delta"):
    delta: str
    summary_index: int = 0


class SummaryDone(ItemEvent, frozen=True, tag="response.reasoning_summary_text.done"):
    text: str
    summary_index: int = 0


class ArgumentsDelta(ItemEvent, frozen=True, tag="response.function_call_arguments.delta"):
    delta: str


class ArgumentsDone(ItemEvent, frozen=True, tag="response.function_call_arguments.done"):
    arguments: str


class EventWriter:
    """Numbers the events of one stream, without gaps, and encodes them."""

    def __init__(self) -> None:
        self._next_number = 0
        self._heads: dict[type[Event], bytes] = {}

    def encode(self, events: Iterable[Event]) -> bytes:
        return b"".join(map(self._encode, events))

    def _encode(self, event: Event) -> bytes:
        head = self._heads.get(type(event)) or self._head_of(type(event))
        number, self._next_number = self._next_number, self._next_number + 1
        return b'%b%b,"sequence_number":%d}\n\n' % (head, encode_json(event)[:-1], number)

    def _head_of(self, kind: type[Event]) -> bytes:
        name = str(kind.__struct_config__.tag).encode()
        return self._heads.setdefault(kind, b"event: %b\ndata: " % name)


def slim_logprobs(logprobs: Sequence[TokenLogprob]) -> tuple[SlimLogprob, ...]:
    if not logprobs:
        return ()
    return tuple(
        SlimLogprob(
            entry.token,
            entry.logprob,
            tuple(SlimTopLogprob(top.token, top.logprob) for top in entry.top_logprobs),
        )
        for entry in logprobs
    )
