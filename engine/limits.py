"""What one engine can hold, and which requests it therefore refuses.

The sizes are resolved here (no None, no "auto"): the model is loaded and the KV cache allocated
when this value is built.
"""

from dataclasses import dataclass

from legato.engine.batch import SequenceRequest
from legato.engine.errors import ConfigError, ContextLengthError, InvalidRequestError
from legato.engine.sampling_params import SamplingParams

# Of one request: what is known of a token takes some twenty bytes, here and on its way.
MAX_PROMPT_LOGPROBS = 1 << 17


def check_prompt_logprobs(params: SamplingParams, num_prompt_tokens: int) -> None:
    """Refuses a request whose answer would be mostly log probabilities of its prompt.

    Raises:
        InvalidRequestError: there would be more than MAX_PROMPT_LOGPROBS.
    """
    if params.prompt_logprobs is None:
        return
    number = num_prompt_tokens * (1 + params.prompt_logprobs)
    if number > MAX_PROMPT_LOGPROBS:
        raise InvalidRequestError(
            f"these would be {number} log probabilities of {num_prompt_tokens} prompt tokens; at "
            f"most {MAX_PROMPT_LOGPROBS} are computed",
            "prompt_logprobs",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """The sizes that scheduling and validation go by."""

    num_blocks: int
    block_size: int  # tokens
    vocab_size: int
    max_model_len: int  # tokens of prompt and answer
    eos_token_ids: tuple[int, ...] = ()
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 1024
    max_num_queued_reqs: int = 1024
    enable_prefix_caching: bool = True

    def __post_init__(self) -> None:
        for name in ("num_blocks", "block_size", "max_num_seqs", "max_num_batched_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")

    @property
    def max_total_tokens(self) -> int:
        """The longest prompt and answer: the last token of an answer needs no KV."""
        return min(self.max_model_len, self.num_blocks * self.block_size + 1)

    def total_tokens(self, request: SequenceRequest) -> int:
        """The number of prompt and output tokens at which the request ends at the latest.

        `max_tokens` is cut to the model's context; without one, to what the KV cache holds too.

        Raises:
            InvalidRequestError: the prompt is empty, has ids that the model does not have, or is
                too long for its `prompt_logprobs`.
            ContextLengthError: prompt, or prompt and `max_tokens`, can never fit.
        """
        prompt, max_tokens = request.prompt_token_ids, request.params.max_tokens
        self._check_token_ids(request)
        check_prompt_logprobs(request.params, len(prompt))
        num_known = len(prompt) + len(request.output_token_ids)
        if num_known >= self.max_total_tokens:
            raise self._too_long(f"the prompt has {num_known} tokens")
        if max_tokens is None:
            return self.max_total_tokens
        total = min(len(prompt) + max_tokens, self.max_model_len)
        if total > self.max_total_tokens:
            raise self._too_long(f"prompt and max_tokens are {total} tokens")
        if num_known >= total:
            raise InvalidRequestError("max_tokens is reached already", "max_tokens")
        return total

    def _check_token_ids(self, request: SequenceRequest) -> None:
        if not request.prompt_token_ids:
            raise InvalidRequestError("the prompt must have at least one token", "prompt")
        for token_ids in (request.prompt_token_ids, request.output_token_ids):
            if token_ids and not 0 <= min(token_ids) <= max(token_ids) < self.vocab_size:
                raise InvalidRequestError(
                    f"the prompt has token ids outside the vocabulary of {self.vocab_size}",
                    "prompt",
                )
        request.params.check_vocabulary(self.vocab_size)

    def _too_long(self, what: str) -> ContextLengthError:
        where = "the context" if self.max_total_tokens == self.max_model_len else "the KV cache"
        return ContextLengthError(
            f"{what}, but {where} takes at most {self.max_total_tokens - 1} of prompt and "
            f"{self.max_total_tokens} of prompt and answer",
            "prompt",
        )
