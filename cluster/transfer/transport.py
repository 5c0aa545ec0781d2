"""What every transport of KV blocks has in common, and how workers describe their pools.

A pool is `[num_blocks, ...]`, one contiguous range of bytes for each block. A transport belongs to
one pair of pools and copies blocks from the local pool to the peer's. It knows no sequence, no
reservation and no epoch: whether a block may be written to is settled before.

Blocks are copied byte by byte, so both pools must have the same dtype and the same shape behind
the block; `check_compatible` refuses a pair that has not, by name. All workers of an application
have one configuration, and the pools of different ones never meet. Should their sizes of tensor
parallelism differ one day, a rank's pool holds the heads

    [rank * H / n, (rank + 1) * H / n)      of H key-value heads on n ranks

and within a block [layer, k/v, kv_head, token, head_dim] the heads that two ranks share are one
range of bytes for each layer and k/v: a push is the same copy in num_layers * 2 ranges instead of
one. A block may then have several writers. A digest is a sum over its words, each weighted by its
place in the target's block, so that the digests of its parts add up to that of the whole.
"""

import asyncio
import os
from collections.abc import Sequence
from enum import StrEnum
from math import prod
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import msgspec

from legato.engine.errors import ConfigError, EngineError

T = TypeVar("T")

BYTES_PER_ELEMENT = {
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
    "float8_e4m3fn": 1,
    "uint8": 1,
}


# By the kind of pool, until pushes were measured: nothing must be decided by a rate far off.
NOMINAL_BYTES_PER_S = {"cuda_ipc": 200e9, "memfd": 2e9, "private": 5e8}


class KVTransport(StrEnum):
    """Which transports a worker takes part in."""

    AUTO = "auto"  # the fastest that is open between two workers
    NIXL = "nixl"  # also between workers of one host
    OBJECT_STORE = "object_store"


class IncompatiblePoolsError(ConfigError):
    """Two workers' KV pools differ in layout, so that no block of one fits the other."""


class TransportUnavailableError(EngineError):
    """This transport cannot reach that peer; another one may."""


class PushFailedError(EngineError):
    """The blocks of a push have not all landed, and will not."""


class MemoryLocation(msgspec.Struct, frozen=True):
    """Where memory begins, as its owner sees it: an address, and the GPU's index (0 on a CPU)."""

    address: int
    device_index: int
    is_gpu: bool


class RegisteredPool(msgspec.Struct, frozen=True):
    """A pool that other hosts can write to through NIXL.

    `metadata` are its agent's: how to reach it, and the keys of the memory.
    """

    metadata: bytes
    location: MemoryLocation


class PoolDescriptor(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells its peers about its KV pool.

    `kind` "memfd": the pool is `num_bytes` from `offset` on in file descriptor `fd` of process
    `pid` on `host`, and `token` stands at the beginning of that file. "cuda_ipc": the pool lies on
    a GPU of `host`, from `offset` on in the memory that CUDA's IPC handle `token` opens. "private":
    nobody on `host` can open it. `registered` says how workers on any host write to it, if they
    can.
    """

    worker: str
    host: str
    pid: int
    shape: tuple[int, ...]  # [num_blocks, ...]
    dtype: str  # torch's name without "torch."
    kind: Literal["memfd", "cuda_ipc", "private"]
    fd: int | None = None
    offset: int = 0
    token: bytes = b""
    registered: RegisteredPool | None = None

    @classmethod
    def private(cls, worker: str, shape: tuple[int, ...], dtype: str) -> "PoolDescriptor":
        """Of a pool that no other process can open: its blocks come through its own process."""
        return cls(
            worker=worker, host=host_id(), pid=os.getpid(), shape=shape, dtype=dtype, kind="private"
        )

    @property
    def num_blocks(self) -> int:
        return self.shape[0]

    @property
    def bytes_per_block(self) -> int:
        return prod(self.shape[1:]) * BYTES_PER_ELEMENT[self.dtype]

    @property
    def num_bytes(self) -> int:
        return self.num_blocks * self.bytes_per_block


class PushReport(msgspec.Struct, frozen=True):
    """A push that has landed.

    Attributes:
        seconds: that the bytes took on their way, by the GPU's own clock where one moved them
        digests: of each source block, in the push's order
    """

    num_bytes: int
    seconds: float
    digests: tuple[int, ...]


class Transport(Protocol):
    """One-way road from the local pool to one peer's pool."""

    @property
    def name(self) -> str:
        """For logs and metrics."""

    async def push(
        self, handle: bytes, src_block_ids: Sequence[int], dst_block_ids: Sequence[int]
    ) -> PushReport:
        """Copies blocks under the reservation `handle`; returns when all have landed.

        When it returns or raises, cancellation included, no write of this push is under way that
        the peer does not know of: one-sided writes are over, its own copies it counts itself.

        Raises:
            PushFailedError: some blocks did not land.
        """

    def close(self) -> None:
        """Lets go of the peer's memory. No push may be under way."""


def host_id(boot_id_file: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Equal for all processes under one running kernel, whatever their containers are called."""
    return boot_id_file.read_text().strip()


def check_compatible(local: PoolDescriptor, peer: PoolDescriptor) -> None:
    """Checks that a block of one pool can be copied byte by byte into the other.

    Raises:
        IncompatiblePoolsError: names what differs and how to mend it.
    """
    if local.dtype != peer.dtype:
        raise IncompatiblePoolsError(
            f"KV pools differ in dtype: {local.worker} has {local.dtype}, {peer.worker} has "
            f"{peer.dtype}; start both with the same --dtype"
        )
    if local.shape[1:] != peer.shape[1:]:
        raise IncompatiblePoolsError(
            f"KV blocks differ in shape: {local.worker} has {list(local.shape[1:])}, {peer.worker} "
            f"has {list(peer.shape[1:])}; start both with the same model, --block-size and "
            "--tensor-parallel-size"
        )


async def wait_out(work: asyncio.Future[T]) -> T:
    """Awaits work that cannot be called back: a cancellation waits until the work has ended."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError:
                continue
        if not work.cancelled():
            work.exception()  # nobody else will look at it
        raise
