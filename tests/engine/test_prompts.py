from typing import Any

import pytest

from legato.engine.errors import InvalidRequestError
from legato.engine.prompts import Prompt, TokenizedPrompt, tokenize_prompts
from legato.engine.tokenizer import Tokenizer


def test_one_prompt_or_many_in_every_form(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode("nine bars")
    text, ids = TokenizedPrompt("nine bars", tuple(token_ids)), TokenizedPrompt(None, (5, 6))
    assert tokenize_prompts("nine bars", tokenizer) == [text]
    assert tokenize_prompts(["nine bars", "nine bars"], tokenizer) == [text, text]
    assert tokenize_prompts([5, 6], tokenizer) == [ids]
    assert tokenize_prompts([[5, 6], (5, 6)], tokenizer) == [ids, ids]
    assert tokenize_prompts({"prompt_token_ids": [5, 6]}, None) == [ids]
    mixed: list[Prompt] = [{"prompt_token_ids": [5, 6]}, "nine bars"]
    assert tokenize_prompts(mixed, tokenizer) == [ids, text]
    assert tokenize_prompts({"prompt": "nine bars"}, tokenizer) == [text]
    assert tokenize_prompts([], tokenizer) == []


def test_a_text_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="skip_tokenizer_init"):
        tokenize_prompts("nine bars", None)


@pytest.mark.parametrize("prompt", [{}, {"prompt": None}, [1.5], [True], ["a"]])
def test_other_forms_are_refused(tokenizer: Tokenizer, prompt: Any) -> None:
    with pytest.raises(InvalidRequestError):
        tokenize_prompts([prompt], tokenizer)
