import pytest
import torch

from legato.cluster.transfer.block_bytes import as_bytes, copy_blocks, in_chunks


def test_blocks_land_where_they_are_sent_and_nowhere_else() -> None:
    source, target = torch.randn(5, 2, 3), torch.zeros(4, 2, 3)
    copy_blocks(as_bytes(source), [4, 0], as_bytes(target), [1, 3])
    assert torch.equal(target[1], source[4]) and torch.equal(target[3], source[0])
    assert not target[0].any() and not target[2].any()


def test_bytes_share_the_pools_memory() -> None:
    pool = torch.zeros(3, 4, dtype=torch.bfloat16)
    view = as_bytes(pool)
    assert view.shape == (3, 8)
    view.fill_(0xFF)
    assert pool.isnan().all()


def test_a_pool_with_holes_is_refused() -> None:
    with pytest.raises(ValueError, match="contiguous"):
        as_bytes(torch.zeros(4, 4)[:, :2])


@pytest.mark.parametrize(("src", "dst"), [([5], [0]), ([0], [4]), ([-1], [0]), ([0, 1], [3, -1])])
def test_block_ids_outside_a_pool_copy_nothing(src: list[int], dst: list[int]) -> None:
    source, target = torch.randn(5, 2), torch.zeros(4, 2)
    with pytest.raises(IndexError, match="of a pool of"):
        copy_blocks(as_bytes(source), src, as_bytes(target), dst)
    assert not target.any()


def test_chunks_keep_both_lists_together() -> None:
    assert list(in_chunks([1, 2, 3], [7, 8, 9], 2)) == [([1, 2], [7, 8]), ([3], [9])]
    assert list(in_chunks([], [], 2)) == []
