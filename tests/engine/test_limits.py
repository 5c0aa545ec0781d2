import pytest

from legato.engine.batch import SequenceRequest
from legato.engine.errors import ConfigError, ContextLengthError, InvalidRequestError
from legato.engine.limits import MAX_PROMPT_LOGPROBS, EngineLimits, check_prompt_logprobs
from legato.engine.sampling_params import SamplingParams

LIMITS = EngineLimits(num_blocks=4, block_size=4, vocab_size=100, max_model_len=12)


def request(
    num_prompt: int, max_tokens: int | None = 1, output: tuple[int, ...] = ()
) -> SequenceRequest:
    return SequenceRequest((1,) * num_prompt, SamplingParams(max_tokens=max_tokens), 0, output)


def test_the_total_is_prompt_and_max_tokens_cut_to_the_context() -> None:
    assert LIMITS.total_tokens(request(5, 3)) == 8
    assert LIMITS.total_tokens(request(5, 100)) == 12
    assert LIMITS.total_tokens(request(5, None)) == 12


def test_a_prompt_that_fills_the_context_is_refused_with_the_number_that_fits() -> None:
    assert LIMITS.total_tokens(request(11)) == 12
    with pytest.raises(ContextLengthError, match=r"prompt has 12 tokens.* at most 11 of prompt"):
        LIMITS.total_tokens(request(12))


def test_an_answer_that_the_cache_can_never_hold_is_refused() -> None:
    limits = EngineLimits(num_blocks=2, block_size=4, vocab_size=100, max_model_len=100)
    assert limits.total_tokens(request(5, 4)) == 9
    with pytest.raises(ContextLengthError, match=r"10 tokens, but the KV cache takes .* 9 of"):
        limits.total_tokens(request(5, 5))
    assert limits.total_tokens(request(5, None)) == 9


@pytest.mark.parametrize("token_ids", [(), (100,), (-1,)])
def test_empty_prompts_and_unknown_ids_are_refused(token_ids: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequestError):
        LIMITS.total_tokens(SequenceRequest(token_ids, SamplingParams(), 0))


def test_unknown_stop_ids_are_refused() -> None:
    params = SamplingParams(stop_token_ids=(100,))
    with pytest.raises(InvalidRequestError, match="vocabulary"):
        LIMITS.total_tokens(SequenceRequest((1,), params, 0))


def test_a_request_that_is_finished_already_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="reached already"):
        LIMITS.total_tokens(request(2, 2, output=(5, 6)))


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_num_seqs"):
        EngineLimits(num_blocks=1, block_size=1, vocab_size=1, max_model_len=1, max_num_seqs=0)


def test_a_prompt_that_is_too_long_for_its_log_probabilities_is_refused() -> None:
    for num_top in (0, 3):
        params = SamplingParams(prompt_logprobs=num_top)
        check_prompt_logprobs(params, MAX_PROMPT_LOGPROBS // (1 + num_top))
        with pytest.raises(InvalidRequestError) as refusal:
            check_prompt_logprobs(params, MAX_PROMPT_LOGPROBS // (1 + num_top) + 1)
        assert refusal.value.param == "prompt_logprobs"
    check_prompt_logprobs(SamplingParams(), 1 << 30)
