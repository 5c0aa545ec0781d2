"""Items of the output while they are generated, and the events that tell of it.

begin ──> add, add, ... ──> end          `item` is what it is at any time
"""

from collections.abc import Sequence
from typing import Protocol

from legato.deployments.openai.logprobs import TokenLogprob
from legato.deployments.openai.message.parts import CallOpened
from legato.deployments.openai.responses.events import (
    ArgumentsDelta,
    ArgumentsDone,
    Event,
    ItemAdded,
    ItemDone,
    PartAdded,
    PartDone,
    ReasoningDelta,
    ReasoningDone,
    SummaryDelta,
    SummaryDone,
    SummaryPartAdded,
    SummaryPartDone,
    TextDelta,
    TextDone,
    slim_logprobs,
)
from legato.deployments.openai.responses.items import (
    IN_PROGRESS,
    CallItem,
    MessageItem,
    OutputItem,
    OutputText,
    ReasoningItem,
    ReasoningText,
    SummaryText,
    new_item_id,
)


class OpenItem(Protocol):
    """An item at one place of the output."""

    def begin(self) -> list[Event]:
        """The events before its first text."""

    def add(self, text: str, logprobs: Sequence[TokenLogprob] = ()) -> Event:
        """Takes more text."""

    def end(self, status: str) -> list[Event]:
        """The events after its last text."""

    def item(self, status: str) -> OutputItem:
        """With the text so far."""


class OpenMessage:
    def __init__(self, output_index: int) -> None:
        self._index = output_index
        self._id = new_item_id(MessageItem)
        self._texts: list[str] = []
        self._logprobs: list[TokenLogprob] = []

    def begin(self) -> list[Event]:
        item = MessageItem(self._id, "assistant", (), IN_PROGRESS)
        return [ItemAdded(self._index, item), PartAdded(self._id, self._index, OutputText(""))]

    def add(self, text: str, logprobs: Sequence[TokenLogprob] = ()) -> Event:
        self._texts.append(text)
        self._logprobs += logprobs
        return TextDelta(self._id, self._index, text, slim_logprobs(logprobs))

    def end(self, status: str) -> list[Event]:
        part = self._part()
        return [
            TextDone(self._id, self._index, part.text, slim_logprobs(self._logprobs)),
            PartDone(self._id, self._index, part),
            ItemDone(self._index, self.item(status)),
        ]

    def item(self, status: str) -> OutputItem:
        return MessageItem(self._id, "assistant", (self._part(),), status)

    def _part(self) -> OutputText:
        return OutputText("".join(self._texts), logprobs=tuple(self._logprobs))


class OpenReasoning:
    def __init__(self, output_index: int) -> None:
        self._index = output_index
        self._id = new_item_id(ReasoningItem)
        self._texts: list[str] = []

    def begin(self) -> list[Event]:
        item = ReasoningItem(self._id, status=IN_PROGRESS)
        return [ItemAdded(self._index, item), PartAdded(self._id, self._index, ReasoningText(""))]

    def add(self, text: str, logprobs: Sequence[TokenLogprob] = ()) -> Event:
        self._texts.append(text)
        return ReasoningDelta(self._id, self._index, text)

    def end(self, status: str) -> list[Event]:
        part = self._part()
        return [
            ReasoningDone(self._id, self._index, part.text),
            PartDone(self._id, self._index, part),
            ItemDone(self._index, self.item(status)),
        ]

    def item(self, status: str) -> OutputItem:
        return ReasoningItem(self._id, content=(self._part(),), status=status)

    def _part(self) -> ReasoningText:
        return ReasoningText("".join(self._texts))


class OpenSummary:
    """A thought for a client that asks for summaries, because it shows nothing else."""

    def __init__(self, output_index: int) -> None:
        self._index = output_index
        self._id = new_item_id(ReasoningItem)
        self._texts: list[str] = []

    def begin(self) -> list[Event]:
        item = ReasoningItem(self._id, status=IN_PROGRESS)
        part = SummaryText("")
        return [ItemAdded(self._index, item), SummaryPartAdded(self._id, self._index, part)]

    def add(self, text: str, logprobs: Sequence[TokenLogprob] = ()) -> Event:
        self._texts.append(text)
        return SummaryDelta(self._id, self._index, text)

    def end(self, status: str) -> list[Event]:
        part = self._part()
        return [
            SummaryDone(self._id, self._index, part.text),
            SummaryPartDone(self._id, self._index, part),
            ItemDone(self._index, self.item(status)),
        ]

    def item(self, status: str) -> OutputItem:
        return ReasoningItem(self._id, (self._part(),), status=status)

    def _part(self) -> SummaryText:
        return SummaryText("".join(self._texts))


class OpenCall:
    def __init__(self, output_index: int, call: CallOpened) -> None:
        self._index = output_index
        self._id = new_item_id(CallItem)
        self._call = call
        self._texts: list[str] = []

    def begin(self) -> list[Event]:
        return [ItemAdded(self._index, self.item(IN_PROGRESS))]

    def add(self, text: str, logprobs: Sequence[TokenLogprob] = ()) -> Event:
        self._texts.append(text)
        return ArgumentsDelta(self._id, self._index, text)

    def end(self, status: str) -> list[Event]:
        done = ArgumentsDone(self._id, self._index, "".join(self._texts))
        return [done, ItemDone(self._index, self.item(status))]

    def item(self, status: str) -> OutputItem:
        call = self._call
        return CallItem(self._id, call.call_id, call.name, "".join(self._texts), status)
