from typing import Any

import pytest

from legato.deployments.openai.schema import CompletionRequest
from legato.deployments.openai.truncation import truncated
from legato.engine.errors import InvalidRequestError

PROMPT = tuple(range(100))
CONTEXT = 64


def cut(max_tokens: int | None = 16, **fields: Any) -> tuple[int, ...]:
    return truncated(PROMPT, CompletionRequest(prompt="", **fields), max_tokens, CONTEXT)


def test_the_beginning_goes_unless_the_other_side_is_named() -> None:
    assert cut(truncate_prompt_tokens=3) == (97, 98, 99)
    assert cut(truncate_prompt_tokens=3, truncation_side="left") == (97, 98, 99)
    assert cut(truncate_prompt_tokens=3, truncation_side="right") == (0, 1, 2)


def test_what_is_short_enough_stays_as_it_is() -> None:
    assert cut() == PROMPT
    assert truncated((1, 2), CompletionRequest(prompt="", truncate_prompt_tokens=3), 16, 9) == (
        1,
        2,
    )


def test_minus_one_leaves_room_for_the_answer() -> None:
    assert len(cut(truncate_prompt_tokens=-1)) == CONTEXT - 16
    assert len(cut(max_tokens=None, truncate_prompt_tokens=-1)) == CONTEXT - 1


@pytest.mark.parametrize("length", [0, -2, CONTEXT])
def test_a_length_that_makes_no_prompt_is_refused(length: int) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        cut(truncate_prompt_tokens=length)
    assert refusal.value.param == "truncate_prompt_tokens"


def test_a_side_alone_means_nothing() -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        cut(truncation_side="right")
    assert refusal.value.param == "truncation_side"
