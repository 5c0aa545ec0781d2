"""A choice's deltas to the items of a response's output, one after the other.

ReasoningPart ... ─> ReasoningItem      an item ends where a part of another kind begins,
TextPart ...      ─> MessageItem        a call where the next one opens
CallOpened, CallArguments ... ─> CallItem
"""

from collections.abc import Callable, Sequence

from legato.deployments.openai.choice import ChoiceDelta
from legato.deployments.openai.logprobs import TokenLogprob, chat_logprobs
from legato.deployments.openai.message.parts import (
    CallArguments,
    CallOpened,
    ReasoningPart,
    TextPart,
)
from legato.deployments.openai.responses.events import Event
from legato.deployments.openai.responses.items import COMPLETED, IN_PROGRESS, OutputItem
from legato.deployments.openai.responses.open_items import (
    OpenCall,
    OpenItem,
    OpenMessage,
    OpenReasoning,
    OpenSummary,
)
from legato.deployments.openai.token_texts import TokenTexts
from legato.engine.batch import FinishReason


class OutputBuilder:
    """Follows one answer.

    Args:
        texts: of tokens, for log probabilities; None: they are not wanted.
        with_summary: thoughts are to be told as summaries.
    """

    def __init__(self, texts: TokenTexts | None, with_summary: bool) -> None:
        self._texts = texts
        self._reasoning_kind = OpenSummary if with_summary else OpenReasoning
        self._ended: list[OutputItem] = []
        self._open: OpenItem | None = None
        self._untold: tuple[TokenLogprob, ...] = ()  # of tokens since the last part

    @property
    def items(self) -> tuple[OutputItem, ...]:
        """All items so far; the last one may be on its way."""
        if self._open is None:
            return tuple(self._ended)
        return (*self._ended, self._open.item(IN_PROGRESS))

    def feed(self, delta: ChoiceDelta) -> list[Event]:
        """Takes what a step has added; gives the events that tell of it."""
        logprobs = (*self._untold, *self._logprobs(delta))
        self._untold = logprobs if not delta.text and not delta.parts else ()
        if delta.parts is None:
            return self._add(OpenMessage, delta.text, logprobs) if delta.text else []
        events: list[Event] = []
        for part in delta.parts:
            match part:
                case TextPart(text):
                    events += self._add(OpenMessage, text, _from_text_on(text, logprobs))
                    logprobs = ()
                case ReasoningPart(text):
                    events += self._add(self._reasoning_kind, text)
                case CallOpened():
                    events += self._end(COMPLETED)
                    events += self._begin(OpenCall(len(self._ended), part))
                case CallArguments(_, text):
                    assert isinstance(self._open, OpenCall)
                    events.append(self._open.add(text))
        return events

    def finish(self, status: str) -> list[Event]:
        """Ends the item that is on its way, with this status; a whole answer has one at least."""
        events: list[Event] = []
        if status == COMPLETED and self._open is None and not self._ended:
            events += self._begin(OpenMessage(0))
        return events + self._end(status)

    def _add(
        self,
        kind: Callable[[int], OpenItem],
        text: str,
        logprobs: Sequence[TokenLogprob] = (),
    ) -> list[Event]:
        events: list[Event] = []
        item = self._open
        if item is None or type(item) is not kind:
            events = self._end(COMPLETED)
            item = kind(len(self._ended))
            events += self._begin(item)
        events.append(item.add(text, logprobs))
        return events

    def _begin(self, item: OpenItem) -> list[Event]:
        self._open = item
        return item.begin()

    def _end(self, status: str) -> list[Event]:
        if self._open is None:
            return []
        ending, self._open = self._open, None
        self._ended.append(ending.item(status))
        return ending.end(status)

    def _logprobs(self, delta: ChoiceDelta) -> Sequence[TokenLogprob]:
        """Those of what is said: the token that ends an answer is not."""
        if self._texts is None or not delta.logprobs:
            return ()
        is_ended_by_token = delta.finish_reason is FinishReason.STOP and not isinstance(
            delta.stop_reason, str
        )
        entries = delta.logprobs[:-1] if is_ended_by_token else delta.logprobs
        return chat_logprobs(entries, self._texts).content


def _from_text_on(text: str, logprobs: Sequence[TokenLogprob]) -> Sequence[TokenLogprob]:
    """Without what comes before the text: the marker that ends a thought, and white space."""
    wanted = text.encode()
    written = b""
    for i in reversed(range(len(logprobs))):
        written = bytes(logprobs[i].bytes) + written
        if wanted in written:
            return logprobs[i:]
    return logprobs
