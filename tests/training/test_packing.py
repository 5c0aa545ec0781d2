"""Rows to train on: what is learned, and that a shard's number decides it."""

import numpy as np
from tokenizers import Tokenizer

from legato.training.chat import Document, assistant, user
from legato.training.packing import (
    LEARNED,
    LONG_ROW,
    SHARD_TOKENS,
    Marks,
    document_text,
    entries,
    make_shard,
)


def learned_text(tokenizer: Tokenizer, document: Document) -> str:
    row = entries(tokenizer.encode(document_text(document)).ids, Marks.of(tokenizer))
    ids = [int(entry) & (LEARNED - 1) for entry in row if entry & LEARNED]
    return str(tokenizer.decode(ids, skip_special_tokens=False))


def test_only_the_assistants_turns_with_their_ends_are_learned(tokenizer: Tokenizer) -> None:
    messages = (user("Hi"), assistant("Hello!"), user("assistant\nBye"), assistant("Goodbye."))

    assert learned_text(tokenizer, Document(messages)) == "Hello!<|im_end|>Goodbye.<|im_end|>"


def test_plain_text_is_learned_whole_with_its_end(tokenizer: Tokenizer) -> None:
    assert learned_text(tokenizer, Document(text="A story.")) == "A story.<|endoftext|>"


def test_a_shards_number_decides_what_it_holds(tokenizer: Tokenizer) -> None:
    first, again = (make_shard(tokenizer, 1) for _ in range(2))

    assert first.shape == (SHARD_TOKENS // LONG_ROW, LONG_ROW)
    assert np.array_equal(first, again)
    assert (first[:, 0] & LEARNED == 0).mean() > 0.8
