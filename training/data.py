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

from legato.training.packing import LEARNED, SHARD_TOKENS, make_shard

Shard = NDArray[np.uint16]
NOT_LEARNED = -100


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


def batches(
    stream: ShardStream, batch_tokens: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets for ever, each [rows, row tokens]; targets not learned are NOT_LEARNED.

    `batch_tokens` divides a shard's tokens.
    """
    while True:
        shard = stream.next()
        for part in np.split(shard, SHARD_TOKENS // batch_tokens):
            row = torch.from_numpy(part.astype(np.int64)).to(device, non_blocking=True)
            ids = row & (LEARNED - 1)
            wanted = torch.where(row >= LEARNED, ids, NOT_LEARNED)
            last = torch.full_like(wanted[:, :1], NOT_LEARNED)
            yield ids, torch.cat((wanted[:, 1:], last), dim=1)
