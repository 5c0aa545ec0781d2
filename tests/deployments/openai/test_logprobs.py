"""Log probabilities in both schemas."""

import math

import msgspec

from legato.deployments.openai.logprobs import chat_logprobs, completion_logprobs
from legato.deployments.openai.token_texts import TokenTexts
from legato.engine.batch import TokenLogprobs
from legato.tests.deployments.openai.harness import encode, tiny_tokenizer

TEXTS = TokenTexts(tiny_tokenizer())
[THE, QUICK] = encode("The quick")
ENTRY = TokenLogprobs(THE, -math.inf, 7, ((QUICK, -0.5),))


def test_impossible_tokens_have_a_finite_logprob() -> None:
    for encoded in (chat_logprobs([ENTRY], TEXTS), completion_logprobs([ENTRY], TEXTS, 0)):
        assert b"-9999.0" in msgspec.json.encode(encoded)


def test_each_token_has_its_own_alternatives() -> None:
    entries = [ENTRY, TokenLogprobs(QUICK, -0.1, 1, ((QUICK, -0.1),))]
    content = chat_logprobs(entries, TEXTS).content
    assert [top.token for entry in content for top in entry.top_logprobs] == [" quick", " quick"]
    assert [top.logprob for entry in content for top in entry.top_logprobs] == [-0.5, -0.1]


def test_the_chosen_token_is_always_among_a_completions_alternatives() -> None:
    answer = completion_logprobs([ENTRY], TEXTS, 10)
    assert answer.top_logprobs == [{" quick": -0.5, "The": -9999.0}]
    assert answer.text_offset == [10]
