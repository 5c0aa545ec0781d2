"""Documents as rows of tokens, ready to train on.

    row (512 or 2,048 tokens)   | document | document | document ... (cut at the row's end) |
    entry (uint16)              bits 0-14 token, bit 15: learn to predict this token

Learned are the assistant's turns, up to and with the token that ends a turn, and plain texts whole.
Rows begin with a document, so that prompts at position 0 are seen, and long rows train the whole
context. The shard's number is its seed: shards are made in any order, by any number of processes.
"""

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from legato.training.chat import (
    ASSISTANT_HEADER,
    DOCUMENT_END,
    TURN_END,
    TURN_START,
    Document,
    render,
)
from legato.training.skills.mix import document
from legato.training.split import Split
from legato.training.tokens import token_id

LEARNED = 1 << 15
SHORT_ROW, LONG_ROW = 512, 2048
SHARD_TOKENS = 1 << 19


@dataclass(frozen=True, slots=True)
class Marks:
    """The token ids that tell what is learned."""

    header: tuple[int, ...]
    turn_start: int
    turn_end: int
    document_end: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Marks":
        """The marks of a tokenizer."""
        header = tuple(tokenizer.encode(ASSISTANT_HEADER).ids)
        ends = (token_id(tokenizer, token) for token in (TURN_START, TURN_END, DOCUMENT_END))
        return cls(header, *ends)


def document_text(each: Document) -> str:
    """The document as it is trained on, its end marked."""
    return (each.text or render(each.messages, each.tools)) + DOCUMENT_END


def entries(ids: list[int], marks: Marks) -> NDArray[np.uint16]:
    """A document's tokens with bit 15 on those that are learned. Shape [tokens]."""
    row = np.array(ids, dtype=np.uint16)
    if ids[0] != marks.turn_start:
        return row | np.uint16(LEARNED)
    learned = np.zeros(len(ids), dtype=bool)
    width = len(marks.header)
    ends = np.flatnonzero(row == marks.turn_end)
    for start in np.flatnonzero(row == marks.turn_start):
        if tuple(ids[start : start + width]) == marks.header:
            end = ends[np.searchsorted(ends, start)]
            learned[start + width : end + 1] = True
    row[learned] |= np.uint16(LEARNED)
    return row


def make_shard(tokenizer: Tokenizer, number: int, split: Split = Split.TRAIN) -> NDArray[np.uint16]:
    """The rows of one shard: short rows where its number is even, long ones where it is odd.

    Returns: entries, shape [rows, tokens of a row].
    """
    rng, marks = random.Random(f"shard {number}"), Marks.of(tokenizer)
    row_tokens = LONG_ROW if number % 2 else SHORT_ROW
    rows: list[NDArray[np.uint16]] = []
    parts: list[NDArray[np.uint16]] = []
    filled = 0
    while len(rows) < SHARD_TOKENS // row_tokens:
        texts = [document_text(document(rng, split)) for _ in range(64)]
        for encoding in tokenizer.encode_batch_fast(texts):
            parts.append(entries(encoding.ids, marks))
            filled += len(parts[-1])
            if filled >= row_tokens:
                rows.append(np.concatenate(parts)[:row_tokens])
                parts, filled = [], 0
    return np.stack(rows[: SHARD_TOKENS // row_tokens])
