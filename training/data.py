"""Batches to train on, from shards that worker processes make while the trainer runs.

    workers: shard 0, 1, 2, ...  ->  ShardStream: newest shard not yet used, else one seen before
                                 ->  batches of a fixed number of tokens, short or long rows

The trainer never waits but for the first shards: if it is faster than the workers, shards are used
again.
"""

import multiprocessing
import random
from collections.abc import Iterator
from multiprocessing.pool import AsyncResult, Pool
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from legato.training.packing import (
    LEVEL_WEIGHTS,
    SHARD_TOKENS,
    TOKEN_BITS,
    TOKEN_MASK,
    make_shard,
)

Shard = NDArray[np.uint16]
Batch = tuple[Tensor, Tensor, Tensor]


class ShardWorker:
    """Makes shards by number; sent to each worker process with the tokenizer inside."""

    def __init__(self, tokenizer_json: str) -> None:
        self._json = tokenizer_json

    def __call__(self, number: int) -> Shard:
        """Shard `number`; a worker reads the tokenizer again for each, which takes milliseconds."""
        return make_shard(Tokenizer.from_str(self._json), number)


class ShardStream:
    """Shards in the order of their numbers, made ahead by `num_workers` processes."""

    def __init__(self, tokenizer: Tokenizer, num_workers: int, max_shards: int = 2000) -> None:
        self._make = ShardWorker(tokenizer.to_str())
        self._pool: Pool = multiprocessing.get_context("spawn").Pool(num_workers)
        self._ahead = 4 * num_workers
        self._max_shards = max_shards
        self._pending: list[AsyncResult[Shard]] = []
        self._made: list[Shard] = []
        self._num_ordered = 0
        self._rng = random.Random("reuse")
        self.num_fresh = 0
        self.num_reused = 0

    def __enter__(self) -> "ShardStream":
        self._order()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.terminate()
        self._pool.join()

    def next(self) -> Shard:
        """A shard that was not used yet, or, if none is ready, one that was."""
        self._order()
        if self._pending and (self._pending[0].ready() or len(self._made) < 2):
            shard = self._pending.pop(0).get()
            self._made.append(shard)
            self.num_fresh += 1
            return shard
        self.num_reused += 1
        return self._rng.choice(self._made)

    def _order(self) -> None:
        while len(self._pending) < self._ahead and self._num_ordered < self._max_shards:
            self._pending.append(self._pool.apply_async(self._make, (self._num_ordered,)))
            self._num_ordered += 1


def batches(stream: ShardStream, batch_tokens: int, device: torch.device) -> Iterator[Batch]:
    """Inputs, targets and the targets' weights for ever, each [rows, row tokens].

    A weight is 0 where a target is not learned. `batch_tokens` divides a shard's tokens.
    """
    level_weights = torch.tensor(LEVEL_WEIGHTS, device=device)
    while True:
        shard = stream.next()
        for part in np.split(shard, SHARD_TOKENS // batch_tokens):
            row = torch.from_numpy(part.astype(np.int64)).to(device, non_blocking=True)
            yield batch_of(row, level_weights)


def batch_of(row: Tensor, level_weights: Tensor) -> Batch:
    """Inputs, targets and weights, each [rows, row tokens], of entries of that shape (int64)."""
    ids, weights = row & TOKEN_MASK, level_weights[row >> TOKEN_BITS]
    targets = torch.roll(ids, -1, dims=1)
    weights = torch.cat((weights[:, 1:], torch.zeros_like(weights[:, :1])), dim=1)
    return ids, targets, weights
