"""Collects what the engine says to one sequence of an offline request, as tokens and as text."""

from legato.engine.batch import FinishReason, SequenceOutput, SequenceRequest, TokenLogprobs
from legato.engine.detokenizer import TextStream
from legato.engine.request_output import CompletionOutput, Logprob
from legato.engine.tokenizer import Tokenizer


class Answer:
    """An answer as it grows; `output` is valid once `is_finished`."""

    def __init__(self, request: SequenceRequest, tokenizer: Tokenizer | None) -> None:
        self.request = request
        self.num_cached_tokens = 0
        self._tokenizer = tokenizer
        self._stream = None if tokenizer is None else TextStream(tokenizer, request.params)
        self._text: list[str] = []
        self._token_ids: list[int] = []
        self._logprobs: list[dict[int, Logprob]] = []
        self._prompt_logprobs: list[dict[int, Logprob] | None] = [None]
        self._finish_reason: FinishReason | None = None
        self._stop_reason: int | str | None = None

    @property
    def prompt_logprobs(self) -> list[dict[int, Logprob] | None] | None:
        """Of each token of the prompt; None: not asked for."""
        is_asked = self.request.params.prompt_logprobs is not None
        return self._prompt_logprobs if is_asked else None

    @property
    def is_finished(self) -> bool:
        return self._finish_reason is not None

    def take(self, output: SequenceOutput) -> None:
        """Adds what one step gave; a stop string in the text finishes the answer too."""
        num_tokens = len(output.token_ids)
        self.num_cached_tokens = output.num_cached_tokens
        self._prompt_logprobs += map(self._at_position, output.prompt_logprobs)
        self._finish_reason = output.finish_reason
        if output.stop_token_id in self.request.params.stop_token_ids:
            self._stop_reason = output.stop_token_id
        if self._stream is not None:
            delta = self._stream.feed(output.token_ids, self.is_finished, output.stop_token_id)
            self._text.append(delta.text)
            num_tokens = delta.num_tokens
            if delta.stop is not None:
                self._finish_reason, self._stop_reason = FinishReason.STOP, delta.stop
        self._token_ids += output.token_ids[:num_tokens]
        self._logprobs += map(self._at_position, output.logprobs[:num_tokens])

    def _at_position(self, logprobs: TokenLogprobs) -> dict[int, Logprob]:
        chosen = logprobs.token_id, logprobs.logprob, logprobs.rank
        likeliest = [(*pair, rank) for rank, pair in enumerate(logprobs.top, start=1)]
        # The chosen token comes first and keeps its place if it is among the likeliest as well.
        return {
            token_id: Logprob(logprob, rank, self._text_of(token_id))
            for token_id, logprob, rank in [chosen, *likeliest]
        }

    def _text_of(self, token_id: int) -> str | None:
        if self._tokenizer is None:
            return None
        return self._tokenizer.decode([token_id], skip_special_tokens=False)

    def output(self, index: int) -> CompletionOutput:
        """The whole answer, as number `index` of its prompt."""
        assert self._finish_reason is not None, "output() of an unfinished answer"
        return CompletionOutput(
            index=index,
            text="".join(self._text),
            token_ids=self._token_ids,
            logprobs=self._logprobs if self.request.params.logprobs is not None else None,
            finish_reason=self._finish_reason,
            stop_reason=self._stop_reason,
        )
