"""Causal attention of a step's queries over keys and values in the block pool.

Each group of the plan is gathered from the pool in one indexed copy and computed in one call.
Queries that share a key head are computed as rows of one matrix where each sequence has one query,
which spares the copy of keys per query head that grouped-query attention otherwise costs there.
"""

import torch
import torch.nn.functional as F

from legato.kernels.attention_plan import AttentionGroup, AttentionPlan


def paged_attention(
    query: torch.Tensor, kv_pool: torch.Tensor, layer: int, plan: AttentionPlan
) -> torch.Tensor:
    """Attention with scale head_dim ** -0.5.

    The step's own keys and values must be in the pool already. What the pool holds in slots
    without a token has no influence, non-finite values included.

    Args:
        query: [tokens, heads, head_dim]
        kv_pool: [block, layer, k/v, kv_head, token, head_dim]

    Returns:
        [tokens, heads * head_dim]
    """
    outputs = [_attend_group(query, kv_pool, layer, group) for group in plan.groups]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _attend_group(
    query: torch.Tensor, kv_pool: torch.Tensor, layer: int, group: AttentionGroup
) -> torch.Tensor:
    keys, values = _gather(kv_pool, layer, group)
    query = query[group.first_token : group.first_token + group.num_tokens]
    num_heads, head_dim = query.shape[1:]
    if group.max_query_len == 1:
        folded = query.reshape(group.num_sequences, keys.shape[1], -1, head_dim)
        mask = group.mask.expand(-1, -1, folded.shape[2], -1)
        output = F.scaled_dot_product_attention(folded, keys, values, attn_mask=mask)
        return output.reshape(group.num_tokens, num_heads * head_dim)
    if group.padded_rows is not None:
        query = query.index_select(0, group.padded_rows)
    query = query.view(group.num_sequences, group.max_query_len, num_heads, head_dim)
    output = F.scaled_dot_product_attention(
        query.transpose(1, 2), keys, values, attn_mask=group.mask, enable_gqa=True
    )
    output = output.transpose(1, 2).reshape(-1, num_heads * head_dim)
    return output if group.token_rows is None else output.index_select(0, group.token_rows)


def _gather(
    kv_pool: torch.Tensor, layer: int, group: AttentionGroup
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of a group, each [sequences, kv_heads, tokens, head_dim], all finite."""
    num_kv_heads, block_size, head_dim = kv_pool.shape[3:]
    rows = kv_pool.view(-1, block_size * head_dim)[layer * 2 * num_kv_heads :]
    gathered = rows.index_select(0, group.kv_rows).view(-1, head_dim)
    # A masked key's weight is 0, but 0 * NaN is NaN: the mask alone does not keep garbage out.
    gathered.index_fill_(0, group.unused_rows, 0.0)
    keys, values = gathered.view(2, group.num_sequences, num_kv_heads, -1, head_dim)
    return keys, values
