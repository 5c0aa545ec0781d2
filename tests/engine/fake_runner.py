"""A runner without a model: what it samples depends on what it reads back from its KV blocks.

A slot of the KV pool holds the token that was written there. A sampled token is a checksum over
the whole context as read through the block table, so any block that was shared, moved, freed or
overwritten wrongly changes the text.

A deep pipeline computes as late as it can: a step waits until its result is waited for. So whatever
is done to a block while a step with it is under way is overwritten or read by that step.
"""

import struct
from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Any
from zlib import crc32

import numpy as np

from legato.engine.batch import (
    Continuation,
    RunResult,
    SampledToken,
    SamplingInput,
    ScheduledBatch,
    ScheduledSequence,
)
from legato.engine.core import EngineCore
from legato.engine.grammar_compiler import GrammarCompiler
from legato.engine.grammar_state import GrammarState, MaskWriter
from legato.engine.limits import EngineLimits
from legato.engine.pipeline import PendingResult

VOCAB_SIZE = 50
EOS = 0
EMPTY = VOCAB_SIZE


def next_token(context: Sequence[int], banned: Sequence[int] = ()) -> int:
    """The token that follows `context`."""
    token_id = crc32(struct.pack(f"{len(context)}I", *context)) % VOCAB_SIZE
    while token_id in banned:
        token_id = (token_id + 1) % VOCAB_SIZE
    return token_id


def banned_by(grammar: GrammarState, banned: Sequence[int] = ()) -> list[int]:
    """The tokens that a grammar does not allow where it stands."""
    mask = np.zeros((1, -(-VOCAB_SIZE // 32)), np.int32)
    MaskWriter(num_threads=1).write(mask, [grammar], [banned])
    is_allowed = np.unpackbits(mask.view(np.uint8), count=VOCAB_SIZE, bitorder="little")
    return [int(token_id) for token_id in np.flatnonzero(is_allowed == 0)]


def answer(prompt: Sequence[int], max_tokens: int, ignore_eos: bool = False) -> list[int]:
    """What an engine on its own answers to `prompt`."""
    context = list(prompt)
    for _ in range(max_tokens):
        context.append(next_token(context))
        if context[-1] == EOS and not ignore_eos:
            break
    return context[len(prompt) :]


class FakeRunner:
    """`kv[block][offset]` is the pool; `batches` are those that were launched, in order.

    `fails` makes the next launch raise; `result_error` is raised by the next result.
    """

    def __init__(self, num_blocks: int, block_size: int, pipeline_depth: int = 1) -> None:
        self.pipeline_depth = pipeline_depth
        self.block_size = block_size
        self.kv = [[EMPTY] * block_size for _ in range(num_blocks)]
        self.batches: list[ScheduledBatch] = []
        self.fails = False
        self.result_error: BaseException | None = None
        self._under_way: deque[FakeResult] = deque()
        self._last_sampled: dict[int, int] = {}  # of the last batch computed, by sequence

    def launch(self, batch: ScheduledBatch) -> PendingResult:
        if self.fails:
            raise ValueError("no luck today")
        assert batch.sequences, "an empty batch was launched"
        assert len(self._under_way) < self.pipeline_depth
        before = self.batches[-1].sequences if self._under_way else ()
        sampling = {part.seq_id for part in before if part.sampling is not None}
        takers = {part.seq_id for part in batch.sequences if part.takes_sampled}
        assert takers <= sampling, "the token to take is not sampled by the step before"
        assert not any(part.token_ids for part in batch.sequences if part.takes_sampled)
        if batch.continuation is not None:
            self._check_continuation(batch, batch.continuation)
        self.batches.append(batch)
        self._under_way.append(FakeResult(self, batch))
        return self._under_way[-1]

    def _check_continuation(self, batch: ScheduledBatch, continuation: Continuation) -> None:
        """A runner may rely on it, and look at the places alone that have grown."""
        pairs = list(zip(self.batches[-1].sequences, batch.sequences, strict=True))
        assert all(part.takes_sampled and part.seq_id == old.seq_id for old, part in pairs)
        assert all(part.start == old.start + old.num_tokens for old, part in pairs)
        for place, (old, part) in enumerate(pairs):
            assert (part.block_table != old.block_table) == (place in continuation.grown)

    def compute(self, result: "FakeResult") -> RunResult:
        assert self._under_way.popleft() is result, "results must be waited for in order"
        if self.result_error is not None:
            error, self.result_error = self.result_error, None
            self._under_way.clear()
            raise error
        parts = result.batch.sequences
        for part in parts:
            self._write(part)
        sampled = {part.seq_id: self._sample(part) for part in parts if part.sampling}
        self._last_sampled = {seq_id: token.token_id for seq_id, token in sampled.items()}
        return RunResult(tuple(sampled.values()))

    def blocks_under_way(self) -> set[int]:
        """Blocks that steps under way may write or read."""
        batches = (result.batch for result in self._under_way)
        parts = (part for batch in batches for part in batch.sequences)
        return {block_id for part in parts for block_id in part.block_table}

    def _write(self, part: ScheduledSequence) -> None:
        taken = (self._last_sampled[part.seq_id],) if part.takes_sampled else ()
        for position, token_id in enumerate(part.token_ids + taken, start=part.start):
            block = self.kv[part.block_table[position // self.block_size]]
            block[position % self.block_size] = token_id

    def _sample(self, part: ScheduledSequence) -> SampledToken:
        assert part.sampling is not None
        slots = [token_id for block_id in part.block_table for token_id in self.kv[block_id]]
        context = slots[: part.start + part.num_tokens]
        num_prompt_tokens = len(part.sampling.prompt_token_ids)
        assert part.sampling.position == len(context) - num_prompt_tokens
        return SampledToken(next_token(context, _banned(part.sampling)), None)


def _banned(sampling: SamplingInput) -> Sequence[int]:
    if sampling.grammar is None:
        return sampling.banned_token_ids
    return banned_by(sampling.grammar, sampling.banned_token_ids)


class FakeResult:
    """A batch that the runner computes when somebody waits for it."""

    def __init__(self, runner: FakeRunner, batch: ScheduledBatch) -> None:
        self.batch = batch
        self._runner = runner

    def wait(self) -> RunResult:
        return self._runner.compute(self)


def fake_engine(
    num_blocks: int = 16,
    pipeline_depth: int = 1,
    grammars: GrammarCompiler | None = None,
    **changes: Any,
) -> tuple[EngineCore, FakeRunner]:
    """An engine of small sizes whose clock counts the times that it is asked."""
    sizes = {"block_size": 4, "max_model_len": 64, "max_num_batched_tokens": 16} | changes
    limits = EngineLimits(
        num_blocks=num_blocks, vocab_size=VOCAB_SIZE, eos_token_ids=(EOS,), **sizes
    )
    runner = FakeRunner(num_blocks, limits.block_size, pipeline_depth)
    return EngineCore(runner, limits, count(0.0).__next__, grammars), runner
