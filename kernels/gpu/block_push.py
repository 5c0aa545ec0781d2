"""Copies whole blocks into another GPU's pool, and digests them in the same pass.

    blocks     |  0  |  1  |  2  |  ...       cut into tiles of ROWS x 1024 words
    programs    0 1 2 0 1 2 0 1 2 ...

A push is as slow as the link, and takes few multiprocessors from the steps beside it. A digest
without a copy takes them all for a moment instead: the steps lose less.

A program keeps a tile in registers between load and store: its loads are what is under way to the
memory, and stores over NVLink need no answer. The target may lie in another process's pool.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import triton
import triton.language as tl

from legato.kernels.block_push import NUM_COLUMNS, block_words, digest_factors


class DeviceMemory(Protocol):
    """Memory that the device can write to: a tensor, or what another process has opened to us."""

    def data_ptr(self) -> int: ...


@dataclass(frozen=True, slots=True)
class BlockPushConfig:
    """`rows`: of a tile, of 4 KiB each."""

    num_programs: int
    rows: int
    num_warps: int


PUSH_CONFIG = BlockPushConfig(num_programs=48, rows=16, num_warps=8)
DIGEST_CONFIG = BlockPushConfig(num_programs=528, rows=8, num_warps=8)


def push_blocks(
    source_pool: torch.Tensor,
    target_pool: DeviceMemory,
    source_blocks: torch.Tensor,
    target_blocks: torch.Tensor,
    *,
    config: BlockPushConfig = PUSH_CONFIG,
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
    assert target_pool.data_ptr() % 16 == 0
    return _launch(source_pool, target_pool, (source_blocks, target_blocks), config, True)


def digest_blocks(
    pool: torch.Tensor, blocks: torch.Tensor, *, config: BlockPushConfig = DIGEST_CONFIG
) -> torch.Tensor:
    """Digests of the raw bytes of some blocks, as legato.kernels.block_push defines them.

    Args:
        pool: [block, ...] contiguous, any dtype; a block's bytes are a multiple of 4
        blocks: [digests] int64; may repeat

    Returns:
        [digests] int64

    Raises:
        ValueError: as `block_words`.
    """
    return _launch(pool, pool, (blocks, blocks), config, False)


def _launch(
    source_pool: torch.Tensor,
    target_pool: DeviceMemory,
    blocks: tuple[torch.Tensor, torch.Tensor],
    config: BlockPushConfig,
    copies: bool,
) -> torch.Tensor:
    words = block_words(source_pool)
    words_per_block = words.shape[1]
    factors = digest_factors(words_per_block, words.device)
    num_blocks = blocks[0].shape[0]
    digests = torch.full(
        (num_blocks,), factors.of_zeros, dtype=torch.int64, device=source_pool.device
    )
    num_tiles = num_blocks * triton.cdiv(words_per_block, config.rows * NUM_COLUMNS)
    if num_tiles > 0:
        push_blocks_kernel[(min(config.num_programs, num_tiles),)](
            words,
            target_pool.data_ptr(),
            *blocks,
            digests,
            factors.rows,
            factors.columns,
            num_tiles,
            WORDS_PER_BLOCK=words_per_block,
            ROWS=config.rows,
            COLUMNS=NUM_COLUMNS,
            COPIES=copies,
            num_warps=config.num_warps,
        )
    return digests


@triton.jit(do_not_specialize=["target_address", "num_tiles"])
def push_blocks_kernel(
    source,
    target_address,
    source_blocks,
    target_blocks,
    digests,
    row_factors,
    column_factors,
    num_tiles,
    WORDS_PER_BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    COPIES: tl.constexpr,
):
    TILE: tl.constexpr = ROWS * COLUMNS
    TILES_PER_BLOCK: tl.constexpr = (WORDS_PER_BLOCK + TILE - 1) // TILE
    target = tl.multiple_of(target_address.to(tl.pointer_type(tl.int32)), 16)
    columns = tl.arange(0, COLUMNS)
    of_columns = tl.load(column_factors + columns)
    for tile in range(tl.program_id(0), num_tiles, tl.num_programs(0)):
        copy = tile // TILES_PER_BLOCK
        first_row = (tile % TILES_PER_BLOCK) * ROWS
        rows = first_row + tl.arange(0, ROWS)
        words = rows[:, None] * COLUMNS + columns[None, :]
        is_word = words < WORDS_PER_BLOCK
        source_block = tl.load(source_blocks + copy).to(tl.int64)
        copied = tl.load(source + source_block * WORDS_PER_BLOCK + words, is_word, other=0)
        if COPIES:
            target_block = tl.load(target_blocks + copy).to(tl.int64)
            tl.store(target + target_block * WORDS_PER_BLOCK + words, copied, is_word)
        is_row = rows * COLUMNS < WORDS_PER_BLOCK
        of_rows = tl.load(row_factors + rows, is_row, other=0)
        sums = tl.sum(copied.to(tl.int64) * of_rows[:, None], axis=0)
        tl.atomic_add(digests + copy, tl.sum(sums * of_columns), sem="relaxed")
