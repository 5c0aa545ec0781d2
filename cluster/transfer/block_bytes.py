"""Reading and writing whole blocks of a pool as raw bytes. Knows tensors and block ids only."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def as_bytes(pool: Tensor) -> Tensor:
    """The pool as uint8 [num_blocks, bytes of a block], without a copy.

    Raises:
        ValueError: the pool is not contiguous.
    """
    if not pool.is_contiguous():
        raise ValueError(f"a pool must be contiguous: {pool.shape=}, {pool.stride()=}")
    return pool.view(pool.shape[0], -1).view(torch.uint8)


def copy_blocks(
    source: Tensor, src_block_ids: Sequence[int], target: Tensor, dst_block_ids: Sequence[int]
) -> None:
    """target[dst_block_ids[i]] = source[src_block_ids[i]] for all i, in one pass over the bytes.

    Args:
        source, target: uint8 [num_blocks, bytes of a block], as `as_bytes` gives them.

    Raises:
        IndexError: a block id is outside its pool. Nothing was copied.
    """
    check_block_ids(src_block_ids, source.shape[0])
    check_block_ids(dst_block_ids, target.shape[0])
    # Row by row: a block is large enough for the copy to outweigh the call, and a gather would
    # pass over the bytes twice.
    for src, dst in zip(src_block_ids, dst_block_ids, strict=True):
        target[dst].copy_(source[src])


def check_block_ids(block_ids: Sequence[int], num_blocks: int) -> None:
    """Raises:
    IndexError: a block id is outside [0, num_blocks).
    """
    if block_ids and not (min(block_ids) >= 0 and max(block_ids) < num_blocks):
        raise IndexError(f"block ids {min(block_ids)}..{max(block_ids)} of a pool of {num_blocks}")


def in_chunks(
    src_block_ids: Sequence[int], dst_block_ids: Sequence[int], num_at_once: int
) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Both lists side by side, at most `num_at_once` blocks at a time."""
    for start in range(0, len(src_block_ids), num_at_once):
        end = start + num_at_once
        yield src_block_ids[start:end], dst_block_ids[start:end]
