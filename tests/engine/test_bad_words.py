from pathlib import Path

import pytest

from legato.engine.bad_words import forbidden_next, resolve_bad_words
from legato.engine.builtin_model import builtin_model_directory
from legato.engine.errors import InvalidRequestError
from legato.engine.llm import LLM
from legato.engine.sampling_params import SamplingParams
from legato.engine.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM(
        str(builtin_model_directory()), device="cpu", num_gpu_blocks_override=50, max_model_len=200
    )


def test_a_word_is_banned_with_and_without_a_space_before_it(tokenizer: Tokenizer) -> None:
    params = resolve_bad_words(SamplingParams(bad_words=("piano",)), tokenizer.encode_plain, 10_000)
    texts = [tokenizer.decode(token_ids) for token_ids in params.bad_words_token_ids]
    assert texts == ["piano", " piano"]
    none = SamplingParams()
    assert resolve_bad_words(none, tokenizer.encode_plain, 10_000) is none


def test_what_would_complete_a_word_is_forbidden_next() -> None:
    sequences = ((1, 2, 3), (2, 9), (7, 7))
    assert forbidden_next(sequences, [1, 2]) == (3, 9)
    assert forbidden_next(sequences, [5, 7]) == (7,)
    assert forbidden_next(sequences, [2, 1]) == ()
    assert forbidden_next(sequences, []) == ()


def test_an_answer_goes_around_its_bad_words(llm: LLM) -> None:
    free = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)
    tokenizer = llm.get_tokenizer()
    assert tokenizer is not None
    prompt = "Once upon a time"
    text = llm.generate(prompt, free, use_tqdm=False)[0].outputs[0].text
    words = tuple(word for word in text.split() if word.isalpha())[:3]
    assert words
    held = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True, bad_words=words)
    answer = llm.generate(prompt, held, use_tqdm=False)[0].outputs[0]
    resolved = resolve_bad_words(held, tokenizer.encode_plain, 10_000).bad_words_token_ids
    assert any(len(token_ids) > 1 for token_ids in resolved)
    found = tuple(answer.token_ids)
    for token_ids in resolved:
        size = len(token_ids)
        assert token_ids not in [found[i : i + size] for i in range(len(found))]


def test_allowed_tokens_are_the_only_ones_and_bans_give_way_at_the_end(llm: LLM) -> None:
    for temperature in (0, 1):
        params = SamplingParams(
            temperature=temperature, seed=1, max_tokens=20, allowed_token_ids=(300, 301, 302)
        )
        answer = llm.generate([5, 6, 7], params, use_tqdm=False)[0].outputs[0]
        assert set(answer.token_ids) <= {300, 301, 302}
        assert len(answer.token_ids) == 20
    stuck = SamplingParams(
        temperature=0, max_tokens=3, allowed_token_ids=(300,), bad_words_token_ids=((300,),)
    )
    assert llm.generate([5], stuck, use_tqdm=False)[0].outputs[0].token_ids == [300] * 3


def test_words_need_a_tokenizer(model_directory: Path) -> None:
    llm = LLM(
        str(model_directory), skip_tokenizer_init=True, num_gpu_blocks_override=50, max_model_len=64
    )
    with pytest.raises(InvalidRequestError, match="need a tokenizer"):
        llm.generate([5], SamplingParams(bad_words=("piano",)), use_tqdm=False)
