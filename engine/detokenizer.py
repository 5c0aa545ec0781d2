"""Token ids to text while they are being generated, and the stop strings in that text.

    token ids -> DecodeStream -> whole characters -> StopStrings -> text that may be shown
                     |                                  |
         waits for the rest of a character    waits while it may be a stop string

The text of all deltas together is the tokenizer's text of all tokens, up to a stop string.
"""

from collections.abc import Sequence

import msgspec
from tokenizers.decoders import DecodeStream

from legato.engine.sampling_params import SamplingParams
from legato.engine.tokenizer import Tokenizer

# Tokens without a whole character among them, after which nobody waits for one any more: each
# further one would decode all of them anew. A character is four bytes at most.
MAX_PENDING_TOKENS = 32


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """What a few more tokens add to the text. (One is made for each token: a struct is cheap.)"""

    text: str
    num_tokens: int  # of those fed, up to the end of the stop string
    stop: str | None  # the stop string that ended the text


class TextStream:
    """The text of one sequence as it grows."""

    def __init__(self, tokenizer: Tokenizer, params: SamplingParams) -> None:
        self._backend = tokenizer.backend
        self._params = params
        # Tokens that have no text: nothing need wait for what comes of them.
        self._silent_ids = tokenizer.special_ids if params.skip_special_tokens else frozenset()
        self._stream = self._new_stream()
        self._pending: list[int] = []  # tokens whose text has not come out of the stream
        self._num_tokens = 0
        self._stops = (
            StopStrings(params.stop, params.include_stop_str_in_output) if params.stop else None
        )

    @property
    def holds_text(self) -> bool:
        """Whether tokens that were fed have text which is still to come out."""
        return bool(self._pending) or (self._stops is not None and self._stops.holds_text)

    def feed(
        self, token_ids: Sequence[int], finished: bool = False, stop_token_id: int | None = None
    ) -> TextDelta:
        """Takes the next tokens.

        Args:
            finished: these are the last: nothing is held back any more
            stop_token_id: the last of `token_ids`, where it ended the sequence; its own text is
                left out unless `include_stop_str_in_output`

        Once a stop string has been found, everything further is ignored.
        """
        num_tokens, shown = len(token_ids), token_ids
        if stop_token_id is not None and not self._params.include_stop_str_in_output:
            shown = token_ids[:-1]
        if self._stops is not None:
            return self._feed_until_stop(self._stops, shown, finished, num_tokens)
        text = self._decode(shown)
        if finished:
            text += self._flush()
        return TextDelta(text, num_tokens, None)

    def _feed_until_stop(
        self, stops: "StopStrings", shown: Sequence[int], finished: bool, num_tokens: int
    ) -> TextDelta:
        if stops.found is not None:
            return TextDelta("", 0, stops.found)
        text = ""
        for index, token_id in enumerate(shown, start=1):
            self._num_tokens += 1
            text += self._push(stops, self._decode((token_id,)))
            if stops.found is not None:
                return TextDelta(text, index, stops.found)
        if finished:
            text += self._push(stops, self._flush())
            if stops.found is not None:
                return TextDelta(text, len(shown), stops.found)
            text += stops.rest()
        return TextDelta(text, num_tokens, None)

    def _push(self, stops: "StopStrings", piece: str) -> str:
        """What may be shown with `piece`, which ends at the current token."""
        # A stop string must not begin before min_tokens, so that text need not wait either.
        return piece if self._num_tokens < self._params.min_tokens else stops.push(piece)

    def _new_stream(self) -> DecodeStream:
        return DecodeStream([], self._params.skip_special_tokens)

    def _decode(self, token_ids: Sequence[int]) -> str:
        """The whole characters that the tokens complete."""
        token_ids = [token_id for token_id in token_ids if token_id not in self._silent_ids]
        if not token_ids:
            return ""
        self._pending += token_ids
        try:
            text = self._stream.step(self._backend, token_ids)
        except Exception:  # tokenizers has no narrower type for "the text before has changed"
            return self._flush()
        if text is not None:
            self._pending.clear()
            return text
        return self._flush() if len(self._pending) >= MAX_PENDING_TOKENS else ""

    def _flush(self) -> str:
        """The text of the pending tokens as it is, U+FFFD for what is no character."""
        if not self._pending:
            return ""
        text = self._backend.decode(self._pending, self._params.skip_special_tokens)
        self._pending.clear()
        self._stream = self._new_stream()
        return text


class StopStrings:
    """Finds the first stop string in a growing text; holds back what may be the start of one."""

    def __init__(self, stops: Sequence[str], include_stop: bool) -> None:
        self.found: str | None = None
        self._stops = stops
        self._include_stop = include_stop
        self._held = ""

    @property
    def holds_text(self) -> bool:
        """Whether some of the text may be the start of a stop string."""
        return bool(self._held)

    def push(self, text: str) -> str:
        """Takes more text; returns what may be shown."""
        text = self._held + text
        starts = [(start, stop) for stop in self._stops if (start := text.find(stop)) >= 0]
        if starts:
            start, self.found = min(starts, key=lambda match: match[0])
            self._held = ""
            return text[: start + len(self.found) * self._include_stop]
        num_held = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - num_held :]
        return text[: len(text) - num_held]

    def rest(self) -> str:
        """What was held back, now that no more text comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that is a beginning of `stop`, not all of it."""
    start = max(0, len(text) - len(stop) + 1)
    while (start := text.find(stop[0], start)) >= 0:
        if stop.startswith(text[start:]):
            return len(text) - start
        start += 1
    return 0
