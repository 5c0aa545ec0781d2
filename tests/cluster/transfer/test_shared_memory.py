"""Shared-memory transfers between real processes."""

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor

from legato.cluster.transfer.digest import block_digests
from legato.cluster.transfer.shared_memory import (
    SharedMemoryTransport,
    SharedPool,
    open_peer_pool,
)
from legato.cluster.transfer.transport import (
    PoolDescriptor,
    PushFailedError,
    TransportUnavailableError,
)
from legato.tests.cluster.transfer.pool_owner import PoolOwner

HANDLE = b"h" * 16
OWNER = Path(__file__).with_name("shared_pool_owner.py")


@pytest.fixture(scope="module")
def owner() -> Iterator[PoolOwner]:
    owner = PoolOwner(OWNER)
    yield owner
    owner.kill()


def shared_pool(worker: str = "prefill-0") -> tuple[SharedPool, Tensor, PoolDescriptor]:
    shared = SharedPool(6 * 32)
    pool = shared.buffer.view(torch.float32).view(6, 2, 4)
    return shared, pool, shared.describe(worker, pool)


async def test_blocks_land_in_the_pool_of_another_process(owner: PoolOwner) -> None:
    source = torch.randn(9, 2, 4)
    transport = SharedMemoryTransport(source, owner.descriptor, max_chunk_bytes=64)
    report = await transport.push(HANDLE, [8, 0, 3, 3, 1], [1, 5, 2, 0, 4])
    transport.close()
    rows = owner.rows()
    assert torch.equal(rows[[1, 5, 2, 0, 4]], source[[8, 0, 3, 3, 1]])
    assert not rows[3].any()
    assert report.num_bytes == 5 * 32 and report.seconds > 0
    assert list(report.digests) == block_digests(rows, [1, 5, 2, 0, 4])


async def test_an_impossible_block_id_fails_the_push(owner: PoolOwner) -> None:
    transport = SharedMemoryTransport(torch.randn(9, 2, 4), owner.descriptor)
    with pytest.raises(PushFailedError, match="pool of 6"):
        await transport.push(HANDLE, [0], [6])
    transport.close()


@pytest.mark.parametrize("is_same_process", [True, False])
def test_a_pool_with_another_token_is_not_opened(owner: PoolOwner, is_same_process: bool) -> None:
    shared, _, descriptor = shared_pool()
    real = descriptor if is_same_process else owner.descriptor
    with pytest.raises(TransportUnavailableError, match="another worker's pool"):
        open_peer_pool(msgspec.structs.replace(real, token=b"x" * 16))
    shared.close()


def test_another_file_with_the_pools_number_is_not_opened(tmp_path: Path) -> None:
    _, _, descriptor = shared_pool()
    with (
        (tmp_path / "other").open("wb") as other,
        pytest.raises(TransportUnavailableError, match="is not the pool of"),
    ):
        open_peer_pool(msgspec.structs.replace(descriptor, fd=other.fileno()))


def test_a_pool_smaller_than_described_is_not_opened() -> None:
    _, _, descriptor = shared_pool()
    with pytest.raises(TransportUnavailableError, match="too small"):
        open_peer_pool(msgspec.structs.replace(descriptor, shape=(7, 2, 4)))


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"kind": "private"}])
def test_a_pool_that_is_not_shared_here_is_not_opened(change: dict[str, str]) -> None:
    _, _, descriptor = shared_pool()
    with pytest.raises(TransportUnavailableError, match="not shared on this host"):
        open_peer_pool(msgspec.structs.replace(descriptor, **change))


def test_a_closed_pool_can_be_used_but_not_opened() -> None:
    shared, pool, descriptor = shared_pool()
    peer = open_peer_pool(descriptor)
    shared.close()
    peer.fill_(1)
    assert pool.view(torch.uint8).all()
    with pytest.raises(TransportUnavailableError):
        open_peer_pool(descriptor)


def test_a_killed_owner_leaves_nothing_behind_and_harms_no_writer() -> None:
    before = set(os.listdir("/dev/shm"))
    owner = PoolOwner(OWNER)
    peer = open_peer_pool(owner.descriptor)
    owner.kill()
    peer.fill_(1)
    assert set(os.listdir("/dev/shm")) <= before
    with pytest.raises(TransportUnavailableError, match="No such file"):
        open_peer_pool(owner.descriptor)


async def test_a_cancelled_push_ends_after_the_chunk_under_way() -> None:
    _, _, descriptor = shared_pool()
    may_copy = threading.Event()
    copied: list[Sequence[int]] = []

    class SlowTransport(SharedMemoryTransport):
        def _copy(self, src_block_ids: Sequence[int], dst_block_ids: Sequence[int]) -> list[int]:
            may_copy.wait()
            copied.append(dst_block_ids)
            return super()._copy(src_block_ids, dst_block_ids)

    transport = SlowTransport(torch.randn(6, 2, 4), descriptor, max_chunk_bytes=64)
    push = asyncio.create_task(transport.push(HANDLE, range(6), range(6)))
    await asyncio.sleep(0)
    push.cancel()
    await asyncio.sleep(0)
    assert not push.done()
    may_copy.set()
    with pytest.raises(asyncio.CancelledError):
        await push
    assert copied == [range(0, 2)]
    transport.close()
