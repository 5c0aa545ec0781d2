"""Documents as rows of tokens, ready to train on.

    row (1,024 or 2,048 tokens)   | document | document | document ... (cut at the row's end) |
    entry (uint16)                bits 0-13 token, bits 14-15 how firmly to learn to predict it

Learned are the assistant's turns, up to and with the token that ends a turn, and plain texts whole:
tool calls firmly, long texts lightly. Long texts are stories, whose words are partly free choice:
what nobody can predict would else be nearly all of the loss, and its noise drown the rest.

Rows begin with a document, so that prompts at position 0 are seen, and long rows train the whole
context. A short row holds the longest list of tools with its call. The shard's number is its seed:
shards are made in any order, by any number of processes.
"""

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from legato.training.chat import (
    ASSISTANT_HEADER,
    CALL_END,
    CALL_START,
    DOCUMENT_END,
    TURN_END,
    TURN_START,
    Document,
    render,
)
from legato.training.skills.mix import document
from legato.training.split import Split
from legato.training.tokens import token_id

TOKEN_BITS = 14
TOKEN_MASK = (1 << TOKEN_BITS) - 1
LIGHTLY, USUALLY, FIRMLY = (level << TOKEN_BITS for level in (1, 2, 3))
LEVEL_WEIGHTS = (0.0, 0.15, 1.0, 5.0)  # in the loss, by an entry's bits 14-15
LONG_TEXT = 180  # tokens of a turn; no answer but a story is longer
SHORT_ROW, LONG_ROW = 1024, 2048
SHARD_TOKENS = 1 << 19


@dataclass(frozen=True, slots=True)
class Marks:
    """The token ids that tell what is learned."""

    header: tuple[int, ...]
    turn_start: int
    turn_end: int
    document_end: int
    call_start: int
    call_end: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Marks":
        """The marks of a tokenizer."""
        header = tuple(tokenizer.encode(ASSISTANT_HEADER).ids)
        tokens = (TURN_START, TURN_END, DOCUMENT_END, CALL_START, CALL_END)
        return cls(header, *(token_id(tokenizer, token) for token in tokens))


def document_text(each: Document) -> str:
    """The document as it is trained on, its end marked."""
    return (each.text or render(each.messages, each.tools)) + DOCUMENT_END


def entries(ids: list[int], marks: Marks) -> NDArray[np.uint16]:
    """A document's tokens with their levels. Shape [tokens]."""
    row = np.array(ids, dtype=np.uint16)
    if ids[0] != marks.turn_start:
        return row | np.uint16(LIGHTLY)
    levels = np.zeros(len(ids), dtype=np.uint16)
    width = len(marks.header)
    ends = np.flatnonzero(row == marks.turn_end)
    for start in np.flatnonzero(row == marks.turn_start):
        if tuple(ids[start : start + width]) == marks.header:
            turn = slice(start + width, ends[np.searchsorted(ends, start)] + 1)
            levels[turn] = _levels(row[turn], marks)
    return row | levels


def _levels(turn: NDArray[np.uint16], marks: Marks) -> NDArray[np.uint16]:
    """The level of each token of one of the assistant's turns. Shape [tokens]."""
    opened, closed = (turn == mark for mark in (marks.call_start, marks.call_end))
    in_call = (np.cumsum(opened) > np.cumsum(closed)) | closed
    is_long = len(turn) > LONG_TEXT and not opened.any()
    levels = np.where(in_call, FIRMLY, LIGHTLY if is_long else USUALLY)
    return levels.astype(np.uint16)


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
