"""CUDA IPC: transfers between real processes where there is a GPU, refusals where there is none."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch

from legato.cluster.transfer.cuda_ipc import CudaIpcTransport, OpenedPool
from legato.cluster.transfer.digest import block_digests
from legato.cluster.transfer.transport import (
    PoolDescriptor,
    PushFailedError,
    TransportUnavailableError,
    host_id,
)
from legato.tests.cluster.transfer.pool_owner import PoolOwner

HANDLE = b"h" * 16
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def owner() -> Iterator[PoolOwner]:
    owner = PoolOwner(Path(__file__).with_name("cuda_pool_owner.py"))
    yield owner
    owner.kill()


@pytest.mark.gpu
def test_blocks_land_in_the_pool_of_another_process(owner: PoolOwner) -> None:
    source = torch.randn(9, 2, 4, device="cuda")
    transport = CudaIpcTransport(source, owner.descriptor)
    report = asyncio.run(transport.push(HANDLE, [8, 0, 3], [1, 5, 2]))
    assert report.num_bytes == 3 * 32 and report.seconds > 0
    assert list(report.digests) == block_digests(source, [8, 0, 3])
    rows = owner.rows()
    assert torch.equal(rows[[1, 5, 2]], source[[8, 0, 3]].cpu())
    assert not rows[[0, 3, 4]].any()
    transport.close()


@pytest.mark.gpu
def test_blocks_outside_either_pool_are_refused_and_nothing_moves(owner: PoolOwner) -> None:
    before = owner.rows()
    transport = CudaIpcTransport(torch.ones(3, 2, 4, device="cuda"), owner.descriptor)
    for sources, targets in (([0, 3], [0, 1]), ([0, 1], [0, 6]), ([-1], [0])):
        with pytest.raises(PushFailedError, match="block ids"):
            asyncio.run(transport.push(HANDLE, sources, targets))
    assert torch.equal(owner.rows(), before)
    transport.close()


@pytest.mark.gpu
def test_a_pool_can_be_opened_again_after_it_was_closed(owner: PoolOwner) -> None:
    source = torch.full((1, 2, 4), 7.0, device="cuda")
    for target in (0, 3):
        transport = CudaIpcTransport(source, owner.descriptor)
        asyncio.run(transport.push(HANDLE, [0], [target]))
        transport.close()
    assert owner.rows()[[0, 3]].eq(7).all()


@pytest.mark.gpu
def test_a_handle_that_leads_nowhere_is_refused(owner: PoolOwner) -> None:
    stale = msgspec.structs.replace(owner.descriptor, token=bytes(64))
    with pytest.raises(TransportUnavailableError, match="cuIpcOpenMemHandle"):
        OpenedPool(stale, torch.device("cuda", 0))


def descriptor(host: str | None = None) -> PoolDescriptor:
    return PoolDescriptor(
        worker="decode-0",
        host=host or host_id(),
        pid=1,
        shape=(6, 2, 4),
        dtype="float32",
        kind="cuda_ipc",
        token=bytes(64),
    )


@pytest.mark.parametrize(
    "peer",
    [
        descriptor(host="elsewhere"),
        PoolDescriptor.private("decode-0", (6, 2, 4), "float32"),
        msgspec.structs.replace(descriptor(), token=b"short"),
    ],
    ids=["other host", "private", "no handle"],
)
def test_what_cannot_be_a_pool_of_this_host_is_not_even_tried(peer: PoolDescriptor) -> None:
    with pytest.raises(TransportUnavailableError, match="decode-0"):
        OpenedPool(peer, CPU)


def test_a_worker_without_a_gpu_pushes_another_way() -> None:
    with pytest.raises(TransportUnavailableError, match="not on a GPU"):
        CudaIpcTransport(torch.zeros(3, 2, 4), descriptor())
