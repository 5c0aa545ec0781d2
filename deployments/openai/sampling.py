"""From a request's fields to SamplingParams and to one seed for each sequence.

What the client leaves open comes from the model's generation_config, then from OpenAI's defaults.
"""

import secrets
from dataclasses import replace
from typing import Any

from legato.deployments.openai.schema import ChatRequest, CompletionRequest, PromptFields
from legato.deployments.openai.service import ServingInfo
from legato.engine.errors import ContextLengthError, InvalidRequestError
from legato.engine.sampling_params import SamplingParams

MAX_STOP_CHARS = 1024  # of one stop string: each output is held back by as much as the longest
MAX_STOP_TOKEN_IDS = 256
MAX_BAD_WORD_CHARS = 128
MAX_PRIORITY = 1 << 31
_DEFAULT_COMPLETION_TOKENS = 16
_SEED_BITS = 63

_PLAIN = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_PENALTIES = ("presence_penalty", "frequency_penalty")
_LISTS = ("logit_bias", "allowed_token_ids", "bad_words")
_FLAGS = ("include_stop_str_in_output", "ignore_eos", "min_tokens", "skip_special_tokens")


def chat_sampling(request: ChatRequest, info: ServingInfo) -> SamplingParams:
    """Raises InvalidRequestError when a field is out of range; `max_tokens` may stay None."""
    if request.top_logprobs is not None and not request.logprobs:
        raise InvalidRequestError("needs logprobs to be true", "top_logprobs")
    max_tokens = request.max_completion_tokens
    if max_tokens is not None and max_tokens < 1:
        raise InvalidRequestError("must be at least 1", "max_completion_tokens")
    if max_tokens is None:
        max_tokens = request.max_tokens
    if max_tokens is None:
        max_tokens = _default_max_tokens(info, None)
    logprobs = (request.top_logprobs or 0) if request.logprobs else None
    return _sampling(request, info, max_tokens, logprobs)


def completion_sampling(request: CompletionRequest, info: ServingInfo) -> SamplingParams:
    """Raises InvalidRequestError when a field is out of range."""
    max_tokens = request.max_tokens
    if max_tokens is None:
        max_tokens = _default_max_tokens(info, _DEFAULT_COMPLETION_TOKENS)
    elif asks_for_prompt_alone(request):
        max_tokens = 1  # which nobody will see
    params = _sampling(request, info, max_tokens, request.logprobs)
    if not request.echo or request.logprobs is None:
        return params
    # The echo has log probabilities too.
    return replace(params, prompt_logprobs=max(request.logprobs, request.prompt_logprobs or 0))


def asks_for_prompt_alone(request: PromptFields) -> bool:
    """Whether an answer is to be the prompt's echo, with nothing behind it."""
    return isinstance(request, CompletionRequest) and bool(request.echo) and request.max_tokens == 0


def fit_max_tokens(params: SamplingParams, num_prompt_tokens: int, info: ServingInfo) -> int:
    """How many tokens may be generated after this prompt.

    Raises:
        ContextLengthError: prompt and answer do not fit the model's context.
    """
    if params.max_tokens is not None and params.max_tokens > info.max_model_len:
        raise ContextLengthError(
            f"must be at most {info.max_model_len}, the model's context", "max_tokens"
        )
    room = info.max_model_len - num_prompt_tokens
    if room < 1 or (params.max_tokens or 0) > room:
        answer = "" if params.max_tokens is None else f", and max_tokens is {params.max_tokens}"
        raise ContextLengthError(
            f"the model's context is {info.max_model_len} tokens; "
            f"the prompt has {num_prompt_tokens}{answer}: shorten one of them"
        )
    return room if params.max_tokens is None else params.max_tokens


def sampling_seeds(seed: int | None, count: int) -> list[int]:
    """A seed for each of the `count` answers to one prompt; the first alone is what n=1 gives."""
    if seed is None:
        return [secrets.randbits(_SEED_BITS) for _ in range(count)]
    return [(seed + i) % (1 << _SEED_BITS) for i in range(count)]


def _default_max_tokens(info: ServingInfo, otherwise: int | None) -> int | None:
    configured = info.generation_defaults.get("max_tokens")
    return otherwise if configured is None else int(configured)


def _sampling(
    request: PromptFields, info: ServingInfo, max_tokens: int | None, logprobs: int | None
) -> SamplingParams:
    values: dict[str, Any] = dict(info.generation_defaults)
    for name in (*_PLAIN, *_PENALTIES, *_LISTS, "seed", "n", "prompt_logprobs"):
        value = getattr(request, name)
        if value is not None:
            values[name] = value
    values.update({name: getattr(request, name) for name in _FLAGS})
    values["max_tokens"] = max_tokens
    _check_sizes(request)
    params = SamplingParams(
        **values,
        logprobs=logprobs,
        stop=() if request.stop is None else request.stop,  # type: ignore[arg-type]
        stop_token_ids=tuple(request.stop_token_ids or ()),
    )
    params.check_vocabulary(info.vocab_size)
    return params


def _check_sizes(request: PromptFields) -> None:
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if any(len(stop) > MAX_STOP_CHARS for stop in stops):
        raise InvalidRequestError(f"at most {MAX_STOP_CHARS} characters each", "stop")
    if len(request.stop_token_ids or ()) > MAX_STOP_TOKEN_IDS:
        raise InvalidRequestError(f"at most {MAX_STOP_TOKEN_IDS} ids", "stop_token_ids")
    if any(len(word) > MAX_BAD_WORD_CHARS for word in request.bad_words or ()):
        raise InvalidRequestError(f"at most {MAX_BAD_WORD_CHARS} characters each", "bad_words")
    check_priority_and_salt(request.priority, request.cache_salt)


def check_priority_and_salt(priority: int, cache_salt: str | None) -> None:
    """Raises InvalidRequestError."""
    if cache_salt == "":
        raise InvalidRequestError("must not be empty", "cache_salt")
    if not -MAX_PRIORITY <= priority < MAX_PRIORITY:
        raise InvalidRequestError("must fit 32 bits", "priority")
