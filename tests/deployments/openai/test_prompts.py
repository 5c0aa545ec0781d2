"""The shapes of prompts."""

import pytest

from legato.deployments.openai.prompts import check_token_ids, split_prompts
from legato.deployments.openai.schema import Prompt
from legato.engine.errors import InvalidRequestError


def test_each_shape_of_a_prompt_becomes_a_list_of_prompts() -> None:
    assert split_prompts("a") == ["a"]
    assert split_prompts(["a", "b"]) == ["a", "b"]
    assert split_prompts([1, 2]) == [[1, 2]]
    assert split_prompts([[1], [2, 3]]) == [[1], [2, 3]]
    refused: list[Prompt] = [[1, "a"], ["a", [1]], []]
    for mixed in refused:
        with pytest.raises(InvalidRequestError):
            split_prompts(mixed)


def test_only_ids_of_the_vocabulary_pass() -> None:
    check_token_ids([0, 9], 10, "prompt")
    check_token_ids([], 10, "prompt")
    for wrong in (-1, 10, 1 << 70):
        with pytest.raises(InvalidRequestError, match=str(wrong)):
            check_token_ids([0, wrong, 1], 10, "prompt")
