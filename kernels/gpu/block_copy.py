"""Copies whole blocks between pools, or inside one.

program p copies piece p % pieces_per_block of pair p // pieces_per_block, where a piece is
a run of machine words that is adjacent in both pools
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

# Widest first: two words of 8 bytes are one access of 16.
_WORDS = (torch.int64, torch.int32, torch.int16, torch.int8)


@dataclass(frozen=True, slots=True)
class BlockCopyConfig:
    """`piece`: words that one program copies."""

    piece: int
    num_warps: int


DEFAULT_CONFIG = BlockCopyConfig(piece=2048, num_warps=8)


def copy_blocks(
    source_pool: torch.Tensor,
    target_pool: torch.Tensor,
    source_blocks: torch.Tensor,
    target_blocks: torch.Tensor,
    *,
    config: BlockCopyConfig = DEFAULT_CONFIG,
) -> None:
    """Copies block `source_blocks[i]` of one pool to block `target_blocks[i]` of the other.

    Args:
        source_pool, target_pool: [block, ...] contiguous, equal but for the number of blocks; may
            be the same pool
        source_blocks, target_blocks: [copies] int32 or int64; no block is a target twice, and
            none is both source and target in the same pool
    """
    assert source_pool.shape[1:] == target_pool.shape[1:]
    assert source_pool.dtype == target_pool.dtype
    source, target = _as_words(source_pool), _as_words(target_pool)
    words_per_block = source.shape[1]
    pieces_per_block = triton.cdiv(words_per_block, config.piece)
    copy_blocks_kernel[(source_blocks.shape[0] * pieces_per_block,)](
        source,
        target,
        source_blocks,
        target_blocks,
        WORDS_PER_BLOCK=words_per_block,
        PIECE=config.piece,
        num_warps=config.num_warps,
    )


def _as_words(pool: torch.Tensor) -> torch.Tensor:
    """[blocks, words] of the widest integers that a block is made up of."""
    assert pool.is_contiguous()
    num_blocks = pool.shape[0]
    bytes_per_block = pool[:1].nbytes
    word = next(word for word in _WORDS if bytes_per_block % word.itemsize == 0)
    return pool.view(num_blocks, -1).view(torch.int8).view(word)


@triton.jit
def copy_blocks_kernel(
    source_pool,
    target_pool,
    source_blocks,
    target_blocks,
    WORDS_PER_BLOCK: tl.constexpr,
    PIECE: tl.constexpr,
):
    PIECES_PER_BLOCK: tl.constexpr = (WORDS_PER_BLOCK + PIECE - 1) // PIECE
    program = tl.program_id(0)
    pair = program // PIECES_PER_BLOCK
    words = (program % PIECES_PER_BLOCK) * PIECE + tl.arange(0, PIECE)
    is_word = words < WORDS_PER_BLOCK
    source_block = tl.load(source_blocks + pair).to(tl.int64)
    target_block = tl.load(target_blocks + pair).to(tl.int64)
    copied = tl.load(source_pool + source_block * WORDS_PER_BLOCK + words, is_word)
    tl.store(target_pool + target_block * WORDS_PER_BLOCK + words, copied, is_word)
