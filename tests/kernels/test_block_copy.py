import pytest
import torch

from legato.kernels.block_copy import copy_blocks


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("id_dtype", [torch.int32, torch.int64])
def test_blocks_arrive_and_others_stay(dtype: torch.dtype, id_dtype: torch.dtype) -> None:
    source, target = torch.randn(4, 2, 3).to(dtype), torch.randn(5, 2, 3).to(dtype)
    wanted = torch.stack((source[1], target[1], target[2], source[3], target[4]))
    ids = torch.tensor([[3, 1], [3, 0]], dtype=id_dtype)
    copy_blocks(source, target, ids[0], ids[1])
    assert torch.equal(target.float(), wanted.float())


def test_a_pool_may_be_source_and_target() -> None:
    pool = torch.randn(5, 7)
    before = pool.clone()
    copy_blocks(pool, pool, torch.tensor([0, 2]), torch.tensor([4, 1]))
    assert torch.equal(pool, before[[0, 2, 2, 3, 0]])
