"""One choice of an answer while it is generated: from a step's tokens to what the client may see.

    GenerationEvent ──> TextStream (detokenizes, holds back what may become a stop string)
                            │ text, if there is any yet
    ChoiceDelta   <─────────┘ with the tokens since the last text

Tokens whose text is still to come wait for it, so that half a character is no piece of its own.
Tokens that have no text wait for nothing. The pieces of a stream joined are exactly the answer that
is not streamed. The module knows no schema.
"""

from collections.abc import Sequence

import msgspec

from legato.cluster.generation import GenerationEvent
from legato.deployments.openai.message.parts import Part, join_parts
from legato.engine.batch import FinishReason, TokenLogprobs
from legato.engine.detokenizer import TextStream
from legato.engine.sampling_params import SamplingParams
from legato.engine.tokenizer import Tokenizer


class ChoiceDelta(msgspec.Struct, frozen=True):
    """What one event adds to a choice. With `finish_reason`, it is the last."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...]
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None  # the stop string or stop token id that ended it
    parts: tuple[Part, ...] | None = None  # what the text means, in its place, if it was read
    ends_in_calls: bool = False  # the client is to answer calls now
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()  # with the first, if asked for
    embedding: bytes = b""  # of the prompt, likewise


class Choice:
    """Follows one sequence. Owned by the task that iterates over its events."""

    def __init__(self, tokenizer: Tokenizer, params: SamplingParams) -> None:
        self.num_tokens = 0  # up to the end of the stop string, if one is found
        self._text_stream = TextStream(tokenizer, params)
        self._named_stops = frozenset(params.stop_token_ids)  # by the client: EOS is not told
        self._waiting_ids: tuple[int, ...] = ()
        self._waiting_logprobs: tuple[TokenLogprobs, ...] = ()

    def feed(self, event: GenerationEvent) -> ChoiceDelta:
        """Takes a step's tokens and gives what they release."""
        is_last = event.finish_reason is not None
        text = self._text_stream.feed(event.token_ids, is_last, event.stop_token_id)
        self.num_tokens += text.num_tokens
        token_ids = self._waiting_ids + event.token_ids[: text.num_tokens]
        logprobs = self._waiting_logprobs + event.logprobs[: text.num_tokens]
        if text.stop is not None:
            return ChoiceDelta(text.text, token_ids, logprobs, FinishReason.STOP, text.stop)
        if is_last:
            named = event.stop_token_id if event.stop_token_id in self._named_stops else None
            return ChoiceDelta(text.text, token_ids, logprobs, event.finish_reason, named)
        if not text.text and self._text_stream.holds_text:
            self._waiting_ids, self._waiting_logprobs = token_ids, logprobs
            return ChoiceDelta("", (), ())
        self._waiting_ids, self._waiting_logprobs = (), ()
        return ChoiceDelta(text.text, token_ids, logprobs)


def join_deltas(deltas: Sequence[ChoiceDelta]) -> ChoiceDelta:
    """All deltas of one choice as one."""
    return ChoiceDelta(
        "".join(delta.text for delta in deltas),
        tuple(token_id for delta in deltas for token_id in delta.token_ids),
        tuple(entry for delta in deltas for entry in delta.logprobs),
        deltas[-1].finish_reason,
        deltas[-1].stop_reason,
        _join_all_parts(deltas),
        deltas[-1].ends_in_calls,
        deltas[0].prompt_logprobs,
    )


def _join_all_parts(deltas: Sequence[ChoiceDelta]) -> tuple[Part, ...] | None:
    if all(delta.parts is None for delta in deltas):
        return None
    return tuple(join_parts([part for delta in deltas for part in delta.parts or ()]))
