import asyncio

import pytest
import torch

from legato.cluster.transfer.digest import (
    BlockDigester,
    block_digests,
    compile_transfers,
    side_stream,
)
from legato.kernels.block_push import digest_blocks

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def random_pool(device: str) -> torch.Tensor:
    return torch.randn(6, 2, 2, 1, 4, 6, generator=torch.Generator().manual_seed(7)).to(device)


@pytest.mark.parametrize("device", DEVICES)
def test_digests_are_those_of_the_blocks_bytes(device: str) -> None:
    pool = random_pool(device)
    expected = digest_blocks(pool.cpu(), torch.tensor([4, 0, 4])).tolist()
    assert block_digests(pool, [4, 0, 4]) == BlockDigester(pool).digests((4, 0, 4)) == expected
    assert block_digests(pool, []) == []


@pytest.mark.parametrize("device", DEVICES)
async def test_several_threads_may_ask_at_once(device: str) -> None:
    digester = BlockDigester(random_pool(device))
    asked = [list(range(first, 6)) for first in range(6)] * 4
    found = await asyncio.gather(*(asyncio.to_thread(digester.digests, ids) for ids in asked))
    assert found == [digester.digests(ids) for ids in asked]


@pytest.mark.parametrize("device", DEVICES)
def test_compiling_ahead_leaves_the_pool_alone(device: str) -> None:
    pool = random_pool(device)
    before = pool.clone()
    compile_transfers(pool)
    assert torch.equal(pool, before)


def test_a_cpu_has_no_streams() -> None:
    assert side_stream(torch.device("cpu")) is None
