"""Causal attention over latents in the block pool: keys are vectors, values are their beginnings.

All query heads share them, so the heads of a query are rows of one matrix. Each group of the plan
is gathered from the pool in one indexed copy.
"""

import torch

from legato.kernels.attention_params import AttentionParams
from legato.kernels.attention_plan import AttentionGroup, AttentionPlan


def latent_attention(
    query: torch.Tensor,
    kv_pool: torch.Tensor,
    layer: int,
    plan: AttentionPlan,
    params: AttentionParams,
    value_dim: int,
) -> torch.Tensor:
    """Attention of one layer.

    The step's own keys must be in the pool already. What the pool holds in slots without a token
    has no influence, non-finite values included.

    Args:
        query: [tokens, heads, head_dim] contiguous
        kv_pool: [block, layer, 1, 1, token, head_dim]
        params: without window, softcap and scales of stored numbers
        value_dim: of a key's dimensions, how many are its value

    Returns:
        [tokens, heads, value_dim]
    """
    assert params.window is None and params.softcap is None
    output = query.new_empty(*query.shape[:2], value_dim)
    for group in plan.groups:
        asking = query if group.query_rows is None else query.index_select(0, group.query_rows)
        attended = _attend_group(asking, kv_pool, layer, group, params.scale)[..., :value_dim]
        if group.padded_rows is not None:
            attended = attended.index_select(0, group.padded_rows)
        if group.rows is None:
            output.copy_(attended)
        else:
            output.index_copy_(0, group.rows, attended)
    return output


def _attend_group(
    query: torch.Tensor, kv_pool: torch.Tensor, layer: int, group: AttentionGroup, scale: float
) -> torch.Tensor:
    """[padded queries, heads, head_dim]"""
    num_heads, head_dim = query.shape[1:]
    block_elements = kv_pool.shape[4] * head_dim
    rows = kv_pool.view(-1, block_elements)[layer:]
    keys = rows.index_select(0, group.kv_rows).view(-1, head_dim)
    # A masked key's weight is 0, but 0 * NaN is NaN: the mask alone does not keep garbage out.
    keys = keys.index_fill_(0, group.unused_rows, 0.0).view(group.num_sequences, -1, head_dim)
    folded = query.reshape(group.num_sequences, -1, head_dim)  # [sequences, queries * heads, dim]
    scores = torch.bmm(folded * scale, keys.transpose(1, 2))
    by_head = scores.unflatten(1, (-1, num_heads))
    by_head += group.masks[None].transpose(1, 2).to(scores.dtype)  # the same for all heads
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(keys.dtype)
    return torch.bmm(weights, keys).view(-1, num_heads, head_dim)
