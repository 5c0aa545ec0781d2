"""What `LLM.generate` returns; names and shapes are vLLM's."""

from dataclasses import dataclass

from legato.engine.batch import FinishReason


@dataclass(frozen=True, slots=True)
class Logprob:
    """The log probability of one token at one output position."""

    logprob: float
    rank: int  # 1 is the likeliest
    decoded_token: str | None  # None without a tokenizer


@dataclass(frozen=True, slots=True)
class CompletionOutput:
    """One of a prompt's n answers."""

    index: int
    text: str  # empty without a tokenizer
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]] | None  # one for each token: the chosen, then the likeliest
    finish_reason: FinishReason
    stop_reason: int | str | None  # the stop id or stop string; None for EOS and for length


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """A prompt with its answers."""

    prompt: str | None  # None for a prompt given as token ids
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    num_cached_tokens: int  # of the prompt, found in the prefix cache by the first answer
    # If asked for, one for each token of the prompt: nothing is known of the first.
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None
    finished: bool = True
