"""Stores a step's keys and values into the block pool."""

import torch

from legato.kernels.attention_plan import AttentionPlan


def write_kv(
    keys_values: torch.Tensor, kv_pool: torch.Tensor, layer: int, plan: AttentionPlan
) -> None:
    """Writes each token's keys and values to the slot that the plan gives it.

    Args:
        keys_values: [tokens, 2 * kv_heads, head_dim], the keys' heads before the values'
        kv_pool: [block, layer, k/v, kv_head, token, head_dim], written in place
    """
    num_kv_heads, block_size, head_dim = kv_pool.shape[3:]
    rows = kv_pool.view(-1, head_dim)[layer * 2 * num_kv_heads * block_size :]
    rows.index_copy_(0, plan.write_rows, keys_values.reshape(-1, head_dim))
