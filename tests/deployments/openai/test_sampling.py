"""From fields to sampling parameters."""

import pytest

from legato.deployments.openai.sampling import (
    chat_sampling,
    completion_sampling,
    fit_max_tokens,
    sampling_seeds,
)
from legato.deployments.openai.schema import ChatRequest, CompletionRequest
from legato.engine.errors import ContextLengthError, InvalidRequestError
from legato.engine.sampling_params import SamplingParams
from legato.tests.deployments.openai.harness import ScriptedBackend, make_service

DEFAULTS = {"temperature": 0.6, "top_k": 20}
INFO = make_service(ScriptedBackend(), generation_defaults=DEFAULTS).info


def test_the_models_defaults_hold_where_the_client_says_nothing() -> None:
    params = completion_sampling(CompletionRequest(prompt="a", top_k=3), INFO)
    assert (params.temperature, params.top_k, params.max_tokens) == (0.6, 3, 16)
    assert completion_sampling(CompletionRequest(prompt="a", temperature=0), INFO).temperature == 0


def test_max_completion_tokens_goes_before_its_old_name() -> None:
    request = ChatRequest(messages=[], max_tokens=5, max_completion_tokens=6)
    assert chat_sampling(request, INFO).max_tokens == 6
    assert chat_sampling(ChatRequest(messages=[], max_tokens=5), INFO).max_tokens == 5
    assert chat_sampling(ChatRequest(messages=[]), INFO).max_tokens is None


def test_chat_logprobs_become_a_number_of_alternatives() -> None:
    for logprobs, top, expected in ((True, None, 0), (True, 3, 3), (False, None, None)):
        request = ChatRequest(messages=[], logprobs=logprobs, top_logprobs=top)
        assert chat_sampling(request, INFO).logprobs == expected
    for refused, num_top in ((None, 3), (False, 3), (True, 21), (True, -1)):
        request = ChatRequest(messages=[], logprobs=refused, top_logprobs=num_top)
        with pytest.raises(InvalidRequestError):
            chat_sampling(request, INFO)


def test_prompt_and_answer_must_fit_the_context() -> None:
    assert fit_max_tokens(SamplingParams(max_tokens=6), 250, INFO) == 6
    assert fit_max_tokens(SamplingParams(max_tokens=None), 250, INFO) == 6
    for max_tokens, num_prompt_tokens in ((7, 250), (None, 256), (1, 256)):
        with pytest.raises(ContextLengthError):
            fit_max_tokens(SamplingParams(max_tokens=max_tokens), num_prompt_tokens, INFO)


def test_seeds_are_repeatable_distinct_and_not_negative() -> None:
    for seed in (0, -1, (1 << 63) - 1, -(1 << 63)):
        seeds = sampling_seeds(seed, 3)
        assert seeds == sampling_seeds(seed, 3)
        assert len(set(seeds)) == 3
        assert all(0 <= value < 1 << 63 for value in seeds)
    assert sampling_seeds(None, 1) != sampling_seeds(None, 1)
