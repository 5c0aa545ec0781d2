"""Copies whole blocks into another pool, and digests them in the same pass.

    digest = sum over i of (word[i] + OFFSET) * row[i // 1024] * column[i % 1024]
             mod 2^64, as a signed integer

`word[i]` is the i-th 32-bit word of the block's bytes, sign-extended; rows and columns are odd
64-bit mixes of their numbers. The order of summation does not matter, so that many programs can
work on one block, and a product of two factors costs a GPU a few instructions a word.

What a digest catches: any change within one word for certain, as an odd factor is invertible and
the difference below 2^64; words that changed places, blocks that changed places, stale or missing
parts, zeros of another length, but for a chance of about 2^-32. It is no defence against forgers.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch

OFFSET = 0x2545F491  # makes zeros count
NUM_COLUMNS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class DigestFactors:
    """What the words of a block are multiplied by.

    Attributes:
        rows: [words of a block / NUM_COLUMNS, rounded up] int64, odd
        columns: [NUM_COLUMNS] int64, odd
        of_zeros: the digest of a block of zeros
    """

    rows: torch.Tensor
    columns: torch.Tensor
    of_zeros: int


def push_blocks(
    source_pool: torch.Tensor,
    target_pool: torch.Tensor,
    source_blocks: torch.Tensor,
    target_blocks: torch.Tensor,
) -> torch.Tensor:
    """Copies block `source_blocks[i]` of one pool to block `target_blocks[i]` of the other.

    Args:
        source_pool, target_pool: [block, ...] contiguous, equal but for the number of blocks
        source_blocks, target_blocks: [copies] int64; no block is a target twice

    Returns:
        what `digest_blocks` gives for the source blocks, [copies] int64

    Raises:
        ValueError: as `block_words`.
    """
    source, target = block_words(source_pool), block_words(target_pool)
    # Row by row: a block is large enough for the copy to outweigh the call, and a gather would
    # pass over the bytes twice.
    for src, dst in zip(source_blocks.tolist(), target_blocks.tolist(), strict=True):
        target[dst].copy_(source[src])
    return digest_blocks(source_pool, source_blocks)


def digest_blocks(pool: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
    """Digests of the raw bytes of some blocks.

    Args:
        pool: [block, ...] contiguous, any dtype; a block's bytes are a multiple of 4
        blocks: [digests] int64; may repeat

    Returns:
        [digests] int64

    Raises:
        ValueError: as `block_words`.
    """
    words = block_words(pool)
    factors = digest_factors(words.shape[1], words.device)
    num_whole = words.shape[1] // NUM_COLUMNS
    digests = torch.empty(len(blocks), dtype=torch.int64, device=words.device)
    for index, block in enumerate(blocks.tolist()):
        whole, rest = (
            words[block]
            .to(torch.int64)
            .split((num_whole * NUM_COLUMNS, words.shape[1] - num_whole * NUM_COLUMNS))
        )
        sums = whole.view(-1, NUM_COLUMNS).mul_(factors.rows[:num_whole, None]).sum(0)
        sums[: len(rest)] += rest.mul_(factors.rows[-1])
        digests[index] = sums.mul_(factors.columns).sum()
    return digests.add_(factors.of_zeros)


def block_words(pool: torch.Tensor) -> torch.Tensor:
    """The pool as int32 words, without a copy: [blocks, words of a block].

    Raises:
        ValueError: the pool is not contiguous, or a block's bytes are not a multiple of 4.
    """
    bytes_per_block = pool[0].numel() * pool.element_size()
    if not pool.is_contiguous() or bytes_per_block % 4 != 0:
        raise ValueError(f"no 32-bit words in blocks of {bytes_per_block} bytes, {pool.stride()=}")
    return pool.view(pool.shape[0], -1).view(torch.int32)


@lru_cache(maxsize=4)  # a worker has one pool; a pure function's memory is no state
def digest_factors(num_words: int, device: torch.device) -> DigestFactors:
    """The factors for blocks of so many words, on the device."""
    columns = _odd_mixes(1, NUM_COLUMNS)
    rows = _odd_mixes(1 + NUM_COLUMNS, -(-num_words // NUM_COLUMNS))
    every = (rows[:, None] * columns).flatten()[:num_words]
    of_zeros = int(every.sum() * OFFSET)
    return DigestFactors(rows.to(device), columns.to(device), of_zeros)


def _odd_mixes(first: int, count: int) -> torch.Tensor:
    """splitmix64 of `count` numbers from `first` on, made odd: [count] int64"""
    mixed = torch.arange(first, first + count, dtype=torch.int64) * _signed(0x9E3779B97F4A7C15)
    mixed = (mixed ^ _shift_right(mixed, 30)) * _signed(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ _shift_right(mixed, 27)) * _signed(0x94D049BB133111EB)
    return (mixed ^ _shift_right(mixed, 31)) | 1


def _shift_right(values: torch.Tensor, num_bits: int) -> torch.Tensor:
    """Logical shift; torch's own keeps the sign."""
    return (values >> num_bits) & ((1 << (64 - num_bits)) - 1)


def _signed(value: int) -> int:
    """The signed 64-bit integer of the same bits."""
    return value - (1 << 64) if value >= 1 << 63 else value
