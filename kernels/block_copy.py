"""Copies whole blocks between pools, or inside one."""

import torch


def copy_blocks(
    source_pool: torch.Tensor,
    target_pool: torch.Tensor,
    source_blocks: torch.Tensor,
    target_blocks: torch.Tensor,
) -> None:
    """Copies block `source_blocks[i]` of one pool to block `target_blocks[i]` of the other.

    Args:
        source_pool, target_pool: [block, ...] contiguous, equal but for the number of blocks; may
            be the same pool
        source_blocks, target_blocks: [copies] int32 or int64; no block is a target twice, and
            none is both source and target in the same pool
    """
    # As bytes: torch's index_copy_ knows no float8.
    source = source_pool.view(source_pool.shape[0], -1).view(torch.uint8)
    target = target_pool.view(target_pool.shape[0], -1).view(torch.uint8)
    target.index_copy_(0, target_blocks.long(), source.index_select(0, source_blocks))
