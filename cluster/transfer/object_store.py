"""KV blocks through Ray's object store: the way between hosts that share no memory.

    P: gather blocks -> array in P's object store ~~> D's object store -> D: copy into its pool
                     `receive_blocks(handle, writer, block_ids, data)`, an actor method of D

Unlike a one-sided write, the bytes pass through D, which looks at the reservation before it copies.
Slower than shared memory and always there.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from ray.exceptions import RayError
from torch import Tensor

from legato.cluster.transfer.block_bytes import as_bytes, check_block_ids, copy_blocks, in_chunks
from legato.cluster.transfer.digest import block_digests, side_stream
from legato.cluster.transfer.transport import PushFailedError, PushReport, wait_out

BlockData = NDArray[np.uint8]  # [num_blocks, bytes of a block]


class BlockReceiver(Protocol):
    """The decode worker, as a pusher sees it."""

    async def receive_blocks(
        self, handle: bytes, writer: str, block_ids: list[int], data: BlockData
    ) -> bool:
        """Copies `data`[i] into block `block_ids`[i] of the receiver's pool.

        Returns:
            Whether the data is in the pool; False: the reservation does not allow it (any more).

        Raises:
            PushFailedError: the receiver cannot be reached.
        """


class RayBlockReceiver:
    """A `BlockReceiver` that is a Ray actor with such a `receive_blocks` method."""

    def __init__(self, actor: Any) -> None:  # ray's actor handles have no usable type
        self._actor = actor

    async def receive_blocks(
        self, handle: bytes, writer: str, block_ids: list[int], data: BlockData
    ) -> bool:
        """See `BlockReceiver.receive_blocks`."""
        submit = partial(self._actor.receive_blocks.remote, handle, writer, block_ids, data)
        try:
            # Submitting copies the data into the object store: not on the event loop.
            reference = await asyncio.get_running_loop().run_in_executor(None, submit)
            return bool(await reference)
        except RayError as error:
            raise PushFailedError(f"the receiver could not take the blocks: {error}") from error


class ObjectStoreTransport:
    """Sends blocks to a receiver that copies them into its pool itself."""

    name = "object_store"

    def __init__(
        self,
        local_pool: Tensor,
        writer: str,
        receiver: BlockReceiver,
        max_chunk_bytes: int = 32 << 20,
    ) -> None:
        """
        Args:
            local_pool: [num_blocks, ...], contiguous.
            writer: this worker's name, as the reservations have it.
            max_chunk_bytes: the largest object that is put into the store.
        """
        self._source = as_bytes(local_pool)
        self._writer = writer
        self._receiver = receiver
        self._num_at_once = max(1, max_chunk_bytes // self._source.shape[1])
        self._stream = side_stream(local_pool.device)

    async def push(
        self, handle: bytes, src_block_ids: Sequence[int], dst_block_ids: Sequence[int]
    ) -> PushReport:
        """See `Transport.push`.

        A cancelled push does not wait for a receiver that may be out of reach. What is under way
        then is a copy, and the receiver asks its reservation whether to take it.
        """
        started = time.perf_counter()
        digests: list[int] = []
        for src, dst in in_chunks(src_block_ids, dst_block_ids, self._num_at_once):
            digests += await self._send(handle, src, dst)
        num_bytes = len(src_block_ids) * self._source.shape[1]
        return PushReport(num_bytes, time.perf_counter() - started, tuple(digests))

    async def _send(
        self, handle: bytes, src_block_ids: Sequence[int], dst_block_ids: Sequence[int]
    ) -> list[int]:
        loop = asyncio.get_running_loop()
        try:
            data, digests = await wait_out(loop.run_in_executor(None, self._gather, src_block_ids))
        except IndexError as error:
            raise PushFailedError(str(error)) from error
        taken = await self._receiver.receive_blocks(handle, self._writer, list(dst_block_ids), data)
        if not taken:
            raise PushFailedError("the receiver's reservation takes no more writes")
        return digests

    def _gather(self, block_ids: Sequence[int]) -> tuple[BlockData, list[int]]:
        gathered = torch.empty(len(block_ids), self._source.shape[1], dtype=torch.uint8)
        with torch.cuda.stream(self._stream):
            copy_blocks(self._source, block_ids, gathered, range(len(block_ids)))
        # Of what is sent: a step under way may still write behind what was computed.
        return gathered.numpy(), block_digests(gathered, range(len(block_ids)))

    def close(self) -> None:
        """See `Transport.close`: nothing is held."""


def store_blocks(pool: Tensor, block_ids: Sequence[int], data: BlockData) -> None:
    """The receiver's half: copies `data`[i] into block `block_ids`[i]; lets other threads run.

    Args:
        pool: [num_blocks, ...], contiguous.
        data: may be read-only, as Ray's zero-copy arrays are.

    Raises:
        ValueError: the data is not made of as many blocks of this pool's size.
        IndexError: a block id is outside the pool. Nothing was copied.
    """
    target = as_bytes(pool)
    if data.shape != (len(block_ids), target.shape[1]):
        raise ValueError(f"{data.shape=} for {len(block_ids)} blocks of {target.shape[1]} bytes")
    check_block_ids(block_ids, target.shape[0])
    with torch.cuda.stream(side_stream(pool.device)):
        for block_id, block in zip(block_ids, data, strict=True):
            target[block_id].copy_(torch.tensor(block))
