from typing import Any

import pytest

from legato.engine.errors import InvalidRequestError
from legato.engine.sampling_params import (
    MAX_ALLOWED_TOKEN_IDS,
    MAX_BAD_SEQUENCES,
    MAX_BAD_WORDS,
    SamplingParams,
)
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind

FORM = StructuredOutput(StructuredOutputKind.JSON_OBJECT)


def test_lists_are_kept_as_tuples() -> None:
    given: dict[str, Any] = {"allowed_token_ids": [5, 6], "bad_words": ["a", "b"], "stop": "x"}
    params = SamplingParams(**given)
    assert (params.allowed_token_ids, params.bad_words, params.stop) == ((5, 6), ("a", "b"), ("x",))


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"prompt_logprobs": -1}, "prompt_logprobs"),
        ({"prompt_logprobs": 21}, "prompt_logprobs"),
        ({"allowed_token_ids": ()}, "allowed_token_ids"),
        ({"allowed_token_ids": range(MAX_ALLOWED_TOKEN_IDS + 1)}, "allowed_token_ids"),
        ({"allowed_token_ids": (5,), "structured_output": FORM}, "allowed_token_ids"),
        ({"bad_words": ("a", "")}, "bad_words"),
        ({"bad_words": ("a",) * (MAX_BAD_WORDS + 1)}, "bad_words"),
        ({"bad_words_token_ids": ((5,),) * (MAX_BAD_SEQUENCES + 1)}, "bad_words"),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(values: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        SamplingParams(**values)
    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"allowed_token_ids": (100,)}, "allowed_token_ids"),
        ({"bad_words_token_ids": ((5, 100),)}, "bad_words"),
        ({"stop_token_ids": (-1,)}, "stop_token_ids"),
        ({"logit_bias": {100: 1.0}}, "logit_bias"),
    ],
)
def test_tokens_that_the_model_does_not_have_are_refused(
    values: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        SamplingParams(**values).check_vocabulary(100)
    assert refusal.value.param == param
