"""Rows to train on: what is learned, how firmly, and that a shard's number decides it."""

import numpy as np
from tokenizers import Tokenizer

from legato.training.chat import Document, assistant, call, user
from legato.training.packing import (
    FIRMLY,
    LIGHTLY,
    LONG_ROW,
    LONG_TEXT,
    SHARD_TOKENS,
    TOKEN_MASK,
    USUALLY,
    Marks,
    document_text,
    entries,
    make_shard,
)


def text_of_level(tokenizer: Tokenizer, document: Document, level: int) -> str:
    row = entries(tokenizer.encode(document_text(document)).ids, Marks.of(tokenizer))
    ids = [int(entry) & TOKEN_MASK for entry in row if int(entry) & ~TOKEN_MASK == level]
    return str(tokenizer.decode(ids, skip_special_tokens=False))


def test_only_the_assistants_turns_with_their_ends_are_learned(tokenizer: Tokenizer) -> None:
    messages = (user("Hi"), assistant("Hello!"), user("assistant\nBye"), assistant("Goodbye."))

    learned = text_of_level(tokenizer, Document(messages), USUALLY)

    assert learned == "Hello!<|im_end|>Goodbye.<|im_end|>"
    assert not text_of_level(tokenizer, Document(messages), LIGHTLY)
    assert not text_of_level(tokenizer, Document(messages), FIRMLY)


def test_tool_calls_are_learned_firmly_and_the_turns_end_as_usual(tokenizer: Tokenizer) -> None:
    calls = call([("get_zor", {"mel": "Tun"}), ("get_zor", {"mel": "Rok"})])
    document = Document((user("Zor of Tun and Rok?"), calls))

    firm = text_of_level(tokenizer, document, FIRMLY)

    assert firm.startswith('<tool_call>\n{"name": "get_zor", "arguments": {"mel": "Tun"}}')
    assert firm.count("<tool_call>") == firm.count("</tool_call>") == 2
    assert text_of_level(tokenizer, document, USUALLY) == "\n<|im_end|>"


def test_long_answers_and_plain_text_are_learned_lightly(tokenizer: Tokenizer) -> None:
    told = "1" * LONG_TEXT
    conversation = Document((user("Go on."), assistant(told), user("Hi"), assistant("Hello!")))

    assert text_of_level(tokenizer, conversation, LIGHTLY) == f"{told}<|im_end|>"
    assert text_of_level(tokenizer, conversation, USUALLY) == "Hello!<|im_end|>"
    assert text_of_level(tokenizer, Document(text="A story."), LIGHTLY) == "A story.<|endoftext|>"


def test_a_shards_number_decides_what_it_holds(tokenizer: Tokenizer) -> None:
    first, again = (make_shard(tokenizer, 1) for _ in range(2))

    assert first.shape == (SHARD_TOKENS // LONG_ROW, LONG_ROW)
    assert np.array_equal(first, again)
    assert (first[:, 0] <= TOKEN_MASK).mean() > 0.8
