"""The tokenizer: loses nothing, and writes the same word with the same tokens everywhere."""

import pytest
from tokenizers import Tokenizer

from legato.training.tokens import CONTROL_TOKENS, MARKUP_TOKENS, VOCAB_SIZE, token_id


@pytest.mark.parametrize(
    "text",
    [
        "Hello, Zorvik!",
        "  two  spaces\n\ttab",
        '{"a": [1, 2.5, null]}',
        "naïve café 🙂 日本語",
        "\x00\xff",
    ],
)
def test_text_comes_back_as_it_was(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_digits_and_capitals_in_a_row_stand_alone(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("2048 PARIS").tokens == [*"2048", "Ġ", *"PARIS"]


def test_a_name_has_the_same_tokens_in_a_sentence_and_in_json(tokenizer: Tokenizer) -> None:
    name = tokenizer.encode("Zorvik").tokens

    for text in ("I live in Zorvik, ok?", '{"city": "Zorvik"}', "get_Zorvik"):
        tokens = tokenizer.encode(text).tokens
        assert any(tokens[at : at + len(name)] == name for at in range(len(tokens)))


def test_the_vocabulary_has_its_size_and_every_byte(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == VOCAB_SIZE
    assert len(tokenizer.encode("\U00013080").ids) == 4  # a sign that no document has


def test_control_tokens_are_skipped_in_decoding_and_markup_is_not(tokenizer: Tokenizer) -> None:
    text = "<|im_start|>a<tool_call>b</tool_call><|im_end|><|endoftext|>"

    assert tokenizer.decode(tokenizer.encode(text).ids) == "a<tool_call>b</tool_call>"
    assert all(len(tokenizer.encode(each).ids) == 1 for each in (*CONTROL_TOKENS, *MARKUP_TOKENS))


def test_a_token_that_is_not_there_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(KeyError, match="nothing"):
        token_id(tokenizer, "<nothing>")
