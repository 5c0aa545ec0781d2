"""Blocks through a receiver that is an object here, and through Ray's object store."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from torch import Tensor

from legato.cluster.transfer.digest import block_digests
from legato.cluster.transfer.object_store import (
    BlockData,
    ObjectStoreTransport,
    RayBlockReceiver,
    store_blocks,
)
from legato.cluster.transfer.transport import PushFailedError, PushReport

HANDLE = b"h" * 16
WRITER = "prefill-0"


class Receiver:
    """A decode worker's half: takes blocks under HANDLE from WRITER."""

    def __init__(self) -> None:
        self.pool = torch.zeros(6, 2, 4)
        self.num_calls = 0

    async def receive_blocks(
        self, handle: bytes, writer: str, block_ids: list[int], data: BlockData
    ) -> bool:
        self.num_calls += 1
        if (handle, writer) != (HANDLE, WRITER):
            return False
        store_blocks(self.pool, block_ids, data)
        return True

    def digests(self, block_ids: list[int]) -> list[int]:
        return block_digests(self.pool, block_ids)


async def test_blocks_arrive_chunk_by_chunk() -> None:
    source, receiver = torch.randn(9, 2, 4), Receiver()
    transport = ObjectStoreTransport(source, WRITER, receiver, max_chunk_bytes=64)
    report = await transport.push(HANDLE, [8, 0, 3], [1, 5, 2])
    assert torch.equal(receiver.pool[[1, 5, 2]], source[[8, 0, 3]])
    assert not receiver.pool[[0, 3, 4]].any()
    assert receiver.num_calls == 2
    assert report.num_bytes == 3 * 32 and report.seconds > 0
    assert list(report.digests) == block_digests(source, [8, 0, 3])


async def test_a_reservation_that_is_over_fails_the_push() -> None:
    receiver = Receiver()
    transport = ObjectStoreTransport(torch.randn(9, 2, 4), WRITER, receiver, max_chunk_bytes=64)
    with pytest.raises(PushFailedError, match="takes no more writes"):
        await transport.push(b"x" * 16, [0, 1, 2], [0, 1, 2])
    assert receiver.num_calls == 1 and not receiver.pool.any()


async def test_an_impossible_source_block_fails_the_push() -> None:
    transport = ObjectStoreTransport(torch.randn(9, 2, 4), WRITER, Receiver())
    with pytest.raises(PushFailedError, match="pool of 9"):
        await transport.push(HANDLE, [9], [0])


async def test_a_cancelled_push_does_not_wait_for_a_receiver_out_of_reach() -> None:
    class SilentReceiver(Receiver):
        def __init__(self) -> None:
            super().__init__()
            self.was_called = asyncio.Event()

        async def receive_blocks(
            self, handle: bytes, writer: str, block_ids: list[int], data: BlockData
        ) -> bool:
            self.was_called.set()
            await asyncio.Event().wait()
            raise AssertionError("it never answers")

    receiver = SilentReceiver()
    transport = ObjectStoreTransport(torch.randn(9, 2, 4), WRITER, receiver, max_chunk_bytes=32)
    push = asyncio.create_task(transport.push(HANDLE, [0, 1], [0, 1]))
    await receiver.was_called.wait()
    push.cancel()
    with pytest.raises(asyncio.CancelledError):
        await push


def test_read_only_data_is_stored() -> None:
    pool = torch.zeros(3, 4, dtype=torch.bfloat16)
    data = np.full((1, 8), 0xFF, dtype=np.uint8)
    data.setflags(write=False)
    store_blocks(pool, [2], data)
    assert pool[2].isnan().all() and not pool[:2].any()


def test_data_that_does_not_fit_is_not_stored() -> None:
    pool = torch.zeros(3, 4)
    with pytest.raises(ValueError, match="2 blocks of 16 bytes"):
        store_blocks(pool, [0, 1], np.ones((2, 8), dtype=np.uint8))
    with pytest.raises(IndexError, match="pool of 3"):
        store_blocks(pool, [0, 3], np.ones((2, 16), dtype=np.uint8))
    assert not pool.any()


# ---------------------------------------------------------------- with Ray


class Pusher:
    """A prefill worker's half, in a process of its own."""

    def __init__(self, receiver: Any, pool: Tensor) -> None:
        self.transport = ObjectStoreTransport(pool, WRITER, RayBlockReceiver(receiver), 64)

    async def push(self, handle: bytes, src: list[int], dst: list[int]) -> PushReport:
        return await self.transport.push(handle, src, dst)


@pytest.fixture
def cluster() -> Iterator[None]:
    path = [str(Path(__file__).parents[3] / ".types"), *filter(None, [os.getenv("PYTHONPATH")])]
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=100 << 20,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(path)}},
    )
    yield
    ray.shutdown()


def test_blocks_pass_between_two_ray_actors(cluster: None) -> None:
    source = torch.randn(9, 2, 4)
    receiver: Any = ray.remote(num_cpus=0)(Receiver).remote()
    pusher: Any = ray.remote(num_cpus=0)(Pusher).remote(receiver, source)
    report = ray.get(pusher.push.remote(HANDLE, [8, 0, 3], [1, 5, 2]))
    assert list(report.digests) == ray.get(receiver.digests.remote([1, 5, 2]))
    assert list(report.digests) == block_digests(source, [8, 0, 3])
    with pytest.raises(PushFailedError, match="takes no more writes"):
        ray.get(pusher.push.remote(b"x" * 16, [0], [0]))
    ray.kill(receiver)
    with pytest.raises(PushFailedError, match="could not take the blocks"):
        ray.get(pusher.push.remote(HANDLE, [0], [0]))
