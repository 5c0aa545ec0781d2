"""A 64-bit digest of each KV block, cheap enough to be always on.

    digest = sum over i of (word[i] + OFFSET) * multiplier[i]        mod 2^64, as a signed integer

`word[i]` is the i-th 32-bit word of the block's bytes, sign-extended; `multiplier[i]` an odd
64-bit mix of i. The order of summation does not matter, so that a GPU kernel can compute the same
number while it copies the block.

What it catches: any change within one word for certain, as an odd multiplier is invertible and the
difference below 2^64; words that changed places, blocks that changed places, stale or missing
parts, zeros of another length, but for a chance of about 2^-32. It is no defence against forgers.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

OFFSET = 0x2545F491  # makes zeros count


def block_digests(pool: Tensor, block_ids: Sequence[int]) -> list[int]:
    """Digests of the raw bytes of some blocks.

    Args:
        pool: [num_blocks, ...], contiguous, any dtype; a block's bytes are a multiple of 4.
        block_ids: which blocks; may repeat.

    Returns:
        One signed 64-bit integer for each of `block_ids`.
    """
    words = block_words(pool)
    multipliers = _multipliers(words.shape[1]).to(words.device)
    # Block by block: a gather of many would pass over the bytes once more, and slowly.
    sums = [words[block_id].to(torch.int64).mul_(multipliers).sum() for block_id in block_ids]
    if not sums:
        return []
    digests: list[int] = (torch.stack(sums) + OFFSET * multipliers.sum()).tolist()
    return digests


def block_words(pool: Tensor) -> Tensor:
    """The pool as int32 words, without a copy: [num_blocks, words of a block].

    Raises:
        ValueError: the pool is not contiguous, or a block's bytes are not a multiple of 4.
    """
    bytes_per_block = pool[0].numel() * pool.element_size()
    if not pool.is_contiguous() or bytes_per_block % 4 != 0:
        raise ValueError(f"no 32-bit words in blocks of {bytes_per_block} bytes, {pool.stride()=}")
    return pool.view(pool.shape[0], -1).view(torch.int32)


@lru_cache(maxsize=4)  # a worker has one pool; a pure function's memory is no state
def _multipliers(num_words: int) -> Tensor:
    """int64 [num_words]: splitmix64 of the index, made odd."""
    mixed = torch.arange(1, num_words + 1, dtype=torch.int64) * _signed(0x9E3779B97F4A7C15)
    mixed = (mixed ^ _shift_right(mixed, 30)) * _signed(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ _shift_right(mixed, 27)) * _signed(0x94D049BB133111EB)
    return (mixed ^ _shift_right(mixed, 31)) | 1


def _shift_right(values: Tensor, num_bits: int) -> Tensor:
    """Logical shift; torch's own keeps the sign."""
    return (values >> num_bits) & ((1 << (64 - num_bits)) - 1)


def _signed(value: int) -> int:
    """The signed 64-bit integer of the same bits."""
    return value - (1 << 64) if value >= 1 << 63 else value
