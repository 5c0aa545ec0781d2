"""A runner without a model: what it samples depends on what it reads back from its KV blocks.

A slot of the KV pool holds the token that was written there. A sampled token is a checksum over
the whole context as read through the block table, so any block that was shared, moved, freed or
overwritten wrongly changes the text.
"""

import struct
from collections.abc import Sequence
from itertools import count
from typing import Any
from zlib import crc32

from legato.engine.batch import RunResult, SampledToken, ScheduledBatch, ScheduledSequence
from legato.engine.core import EngineCore
from legato.engine.limits import EngineLimits

VOCAB_SIZE = 50
EOS = 0
EMPTY = VOCAB_SIZE


def next_token(context: Sequence[int], banned: Sequence[int] = ()) -> int:
    """The token that follows `context`."""
    token_id = crc32(struct.pack(f"{len(context)}I", *context)) % VOCAB_SIZE
    while token_id in banned:
        token_id = (token_id + 1) % VOCAB_SIZE
    return token_id


def answer(prompt: Sequence[int], max_tokens: int, ignore_eos: bool = False) -> list[int]:
    """What an engine on its own answers to `prompt`."""
    context = list(prompt)
    for _ in range(max_tokens):
        context.append(next_token(context))
        if context[-1] == EOS and not ignore_eos:
            break
    return context[len(prompt) :]


class FakeRunner:
    """`kv[block][offset]` is the pool; `fails` makes the next run raise."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.block_size = block_size
        self.kv = [[EMPTY] * block_size for _ in range(num_blocks)]
        self.fails = False

    def run(self, batch: ScheduledBatch) -> RunResult:
        if self.fails:
            raise ValueError("no luck today")
        for part in batch.sequences:
            self._write(part)
        return RunResult(tuple(self._sample(part) for part in batch.sequences if part.sampling))

    def _write(self, part: ScheduledSequence) -> None:
        for position, token_id in enumerate(part.token_ids, start=part.start):
            block = self.kv[part.block_table[position // self.block_size]]
            block[position % self.block_size] = token_id

    def _sample(self, part: ScheduledSequence) -> SampledToken:
        assert part.sampling is not None
        slots = [token_id for block_id in part.block_table for token_id in self.kv[block_id]]
        context = slots[: part.start + len(part.token_ids)]
        return SampledToken(next_token(context, part.sampling.banned_token_ids), None)


def fake_engine(num_blocks: int = 16, **changes: Any) -> tuple[EngineCore, FakeRunner]:
    """An engine of small sizes whose clock counts the times that it is asked."""
    sizes = {"block_size": 4, "max_model_len": 64, "max_num_batched_tokens": 16} | changes
    limits = EngineLimits(
        num_blocks=num_blocks, vocab_size=VOCAB_SIZE, eos_token_ids=(EOS,), **sizes
    )
    runner = FakeRunner(num_blocks, limits.block_size)
    return EngineCore(runner, limits, clock=count(0.0).__next__), runner
