"""NIXL between real processes where it is installed, and what is said where it is not.

On one host UCX takes shared memory or TCP; the calls are those that would go over InfiniBand.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch

from legato.cluster.transfer.choose import choose_transport
from legato.cluster.transfer.digest import block_digests
from legato.cluster.transfer.local_pool import LocalPool
from legato.cluster.transfer.nixl import NixlTransport
from legato.cluster.transfer.nixl_agent import NixlAgent, is_installed
from legato.cluster.transfer.object_store import BlockData
from legato.cluster.transfer.transport import (
    MemoryLocation,
    PoolDescriptor,
    PushFailedError,
    RegisteredPool,
    TransportUnavailableError,
)
from legato.tests.cluster.transfer.pool_owner import PoolOwner

HANDLE = b"h" * 16
OWNER = Path(__file__).with_name("nixl_pool_owner.py")
SOURCE = torch.arange(9.0 * 8).view(9, 2, 4)
needs_nixl = pytest.mark.skipif(not is_installed(), reason="needs the extra 'nixl'")


class NoReceiver:
    async def receive_blocks(
        self, handle: bytes, writer: str, block_ids: list[int], data: BlockData
    ) -> bool:
        return False


@pytest.fixture(scope="module")
def owner() -> Iterator[PoolOwner]:
    owner = PoolOwner(OWNER)
    yield owner
    owner.kill()


@pytest.fixture(scope="module")
def agent() -> Iterator[NixlAgent]:
    agent = NixlAgent("prefill-0", SOURCE.clone())
    yield agent
    agent.close()


def _segments_of(pid: int) -> list[str]:
    """Shared memory that this process made, and that would outlive it."""
    _, *segments = Path("/proc/sysvipc/shm").read_text().splitlines()
    return [line for line in segments if line.split()[4] == str(pid)]


def private(worker: str, num_blocks: int) -> PoolDescriptor:
    return PoolDescriptor.private(worker, (num_blocks, 2, 4), "float32")


@needs_nixl
async def test_blocks_land_in_the_pool_of_another_process(
    owner: PoolOwner, agent: NixlAgent
) -> None:
    transport = NixlTransport(agent, owner.descriptor, max_chunk_bytes=2 * 32)
    report = await transport.push(HANDLE, [8, 0, 3, 3, 1], [1, 5, 2, 0, 4])
    transport.close()
    rows = owner.rows()
    assert torch.equal(rows[[1, 5, 2, 0, 4]], SOURCE[[8, 0, 3, 3, 1]])
    assert not rows[3].any()
    assert report.num_bytes == 5 * 32 and report.seconds > 0
    assert list(report.digests) == block_digests(rows, [1, 5, 2, 0, 4])


@needs_nixl
async def test_several_pushes_at_once_all_land(owner: PoolOwner, agent: NixlAgent) -> None:
    first, second = (NixlTransport(agent, owner.descriptor) for _ in range(2))
    reports = await asyncio.gather(
        first.push(HANDLE, [2, 4], [0, 1]),
        second.push(HANDLE, [3], [2]),
        first.push(HANDLE, [1, 6, 8], [5, 4, 3]),
    )
    first.close()
    second.close()
    rows = owner.rows()
    assert torch.equal(rows, SOURCE[[2, 4, 3, 8, 6, 1]])
    landed = [digest for report in reports for digest in report.digests]
    assert landed == block_digests(rows, [0, 1, 2, 5, 4, 3])


@needs_nixl
async def test_blocks_outside_either_pool_are_refused_and_nothing_moves(
    owner: PoolOwner, agent: NixlAgent
) -> None:
    before = owner.rows()
    transport = NixlTransport(agent, owner.descriptor)
    for sources, targets in (([0, 9], [0, 1]), ([0, 1], [0, 6]), ([-1], [0])):
        with pytest.raises(PushFailedError, match="block ids"):
            await transport.push(HANDLE, sources, targets)
    transport.close()
    assert torch.equal(owner.rows(), before)


@needs_nixl
async def test_memory_that_the_peer_did_not_register_is_not_written_to(
    owner: PoolOwner, agent: NixlAgent
) -> None:
    before = owner.rows()
    too_large = msgspec.structs.replace(owner.descriptor, shape=(7, 2, 4))
    transport = NixlTransport(agent, too_large)
    with pytest.raises(PushFailedError, match="NIXL"):
        await transport.push(HANDLE, [0], [6])
    assert torch.equal(owner.rows(), before)
    await transport.push(HANDLE, [5], [5])  # a failure is not the end of the road
    transport.close()
    assert torch.equal(owner.rows()[5], SOURCE[5])


@needs_nixl
async def test_a_second_link_to_a_peer_outlives_the_first(
    owner: PoolOwner, agent: NixlAgent
) -> None:
    first, second = (NixlTransport(agent, owner.descriptor) for _ in range(2))
    first.close()
    await second.push(HANDLE, [7], [3])
    second.close()
    again = NixlTransport(agent, owner.descriptor)
    await again.push(HANDLE, [6], [2])
    again.close()
    assert torch.equal(owner.rows()[[3, 2]], SOURCE[[7, 6]])


@needs_nixl
async def test_a_push_to_a_peer_that_was_killed_fails_within_seconds(agent: NixlAgent) -> None:
    victim = PoolOwner(OWNER)
    transport = NixlTransport(agent, victim.descriptor)
    await transport.push(HANDLE, [0], [0])
    victim.kill()
    started = time.monotonic()
    with pytest.raises(PushFailedError, match="NIXL"):
        await transport.push(HANDLE, range(6), range(6))
    assert time.monotonic() - started < 10
    transport.close()
    assert _segments_of(victim.process.pid) == []


@needs_nixl
def test_an_agent_at_rest_takes_little_of_a_core(agent: NixlAgent) -> None:
    agent.describe()
    before, started = time.process_time(), time.monotonic()
    while time.monotonic() - started < 0.5:
        time.sleep(0.1)
    assert time.process_time() - before < 0.1


@needs_nixl
def test_workers_that_share_no_memory_use_nixl(owner: PoolOwner, agent: NixlAgent) -> None:
    pool = LocalPool(agent.pool, private("prefill-0", 9), 4, agent)
    choice = choose_transport(pool, owner.descriptor, NoReceiver())
    assert choice.transport.name == "nixl" and choice.reason is not None
    choice.transport.close()


@needs_nixl
def test_metadata_that_mean_nothing_are_refused(agent: NixlAgent) -> None:
    nonsense = RegisteredPool(b"nonsense", MemoryLocation(0, 0, is_gpu=False))
    peer = msgspec.structs.replace(private("decode-0", 6), registered=nonsense)
    with pytest.raises(TransportUnavailableError, match="NIXL"):
        NixlTransport(agent, peer)


@needs_nixl
def test_a_peer_without_an_agent_is_reached_another_way(agent: NixlAgent) -> None:
    with pytest.raises(TransportUnavailableError, match="decode-0 has no NIXL agent"):
        NixlTransport(agent, private("decode-0", 6))


@pytest.mark.skipif(is_installed(), reason="NIXL is installed")
def test_without_the_extra_there_is_no_agent() -> None:
    with pytest.raises(TransportUnavailableError, match="nixl"):
        NixlAgent("prefill-0", SOURCE)
