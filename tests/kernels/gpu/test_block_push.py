import pytest
import torch

from legato.kernels import block_push as twin
from legato.kernels.gpu.block_push import BlockPushConfig, digest_blocks, push_blocks
from legato.tests.kernels.gpu.device import DEVICE, DTYPES

SMALL = BlockPushConfig(num_programs=3, rows=2, num_warps=1)


def make_pool(num_blocks: int, num_words: int, dtype: torch.dtype) -> torch.Tensor:
    """[block, ...] of `num_words` words of 4 bytes each, arbitrary bits"""
    words = torch.randint(-(1 << 31), 1 << 31, (num_blocks, num_words), device=DEVICE)
    return words.to(torch.int32).view(dtype)


def block_ids(*ids: int) -> torch.Tensor:
    return torch.tensor(ids, dtype=torch.int64, device=DEVICE)


def bits(pool: torch.Tensor) -> torch.Tensor:
    return pool.view(torch.uint8)


# Parts of a row, parts of a tile, several tiles.
@pytest.mark.parametrize("num_words", [12, 1024, 1100, 2 * 1024, 5 * 1024 + 8])
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float8_e4m3fn])
def test_blocks_arrive_bit_for_bit_with_their_digests(num_words: int, dtype: torch.dtype) -> None:
    source, target = make_pool(6, num_words, dtype), make_pool(9, num_words, dtype)
    wanted = target.clone()
    sources, targets = block_ids(5, 0, 5), block_ids(8, 1, 0)
    expected = twin.push_blocks(source, wanted, sources, targets)
    digests = push_blocks(source, target, sources, targets, config=SMALL)
    assert torch.equal(bits(target), bits(wanted))
    assert torch.equal(digests, expected)
    assert torch.equal(digest_blocks(target, targets, config=SMALL), expected)


def test_the_target_may_be_known_by_its_address_alone() -> None:
    class OpenedMemory:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor = tensor

        def data_ptr(self) -> int:
            return self.tensor.data_ptr()

    source, target = make_pool(2, 1024, torch.float16), make_pool(2, 1024, torch.float16)
    push_blocks(source, OpenedMemory(target), block_ids(1), block_ids(0))
    assert torch.equal(bits(target)[0], bits(source)[1])


def test_nothing_to_push_is_no_error() -> None:
    pool = make_pool(2, 8, torch.float16)
    before = pool.clone()
    assert push_blocks(pool, pool, block_ids(), block_ids()).tolist() == []
    assert torch.equal(bits(pool), bits(before))
