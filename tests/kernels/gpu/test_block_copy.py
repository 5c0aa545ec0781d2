import pytest
import torch

from legato.kernels import block_copy as twin
from legato.kernels.gpu.block_copy import BlockCopyConfig, copy_blocks
from legato.tests.kernels.gpu.device import DEVICE, DTYPES

SMALL_PIECES = BlockCopyConfig(piece=32, num_warps=1)


def make_pool(num_blocks: int, head_dim: int, dtype: torch.dtype) -> torch.Tensor:
    shape = (num_blocks, 2, 2, 1, 3, head_dim)
    return torch.randn(shape, device=DEVICE).to(dtype)


def block_ids(*ids: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.tensor(ids, dtype=dtype, device=DEVICE)


def bits(pool: torch.Tensor) -> torch.Tensor:
    return pool.view(torch.uint8)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float8_e4m3fn])
@pytest.mark.parametrize("head_dim", [3, 8])
def test_blocks_arrive_bit_for_bit_and_others_stay(head_dim: int, dtype: torch.dtype) -> None:
    source, target = make_pool(6, head_dim, dtype), make_pool(9, head_dim, dtype)
    wanted = target.clone()
    source_blocks, target_blocks = block_ids(5, 0, 5), block_ids(8, 1, 0)
    twin.copy_blocks(source, wanted, source_blocks, target_blocks)
    copy_blocks(source, target, source_blocks, target_blocks, config=SMALL_PIECES)
    assert torch.equal(bits(target), bits(wanted))


@pytest.mark.parametrize("id_dtype", [torch.int32, torch.int64])
def test_a_pool_may_be_source_and_target(id_dtype: torch.dtype) -> None:
    pool = make_pool(6, 8, torch.float16)
    before = pool.clone()
    copy_blocks(pool, pool, block_ids(3, 2, dtype=id_dtype), block_ids(0, 5, dtype=id_dtype))
    assert torch.equal(pool, before[[3, 1, 2, 3, 4, 2]])


def test_nothing_to_copy_is_no_error() -> None:
    pool = make_pool(2, 8, torch.float16)
    before = pool.clone()
    copy_blocks(pool, pool, block_ids(), block_ids())
    assert torch.equal(pool, before)
