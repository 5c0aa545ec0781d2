"""Causal attention of a step's queries over keys and values in the block pool.

Each group of the plan is gathered from the pool in one indexed copy and computed in one call.
Queries that share a key head are computed as rows of one matrix where each sequence has one query,
which spares the copy of keys per query head that grouped-query attention otherwise costs there.
"""

import torch
import torch.nn.functional as F

from legato.kernels.attention_params import AttentionParams
from legato.kernels.attention_plan import AttentionGroup, AttentionPlan


def paged_attention(
    query: torch.Tensor,
    kv_pool: torch.Tensor,
    layer: int,
    plan: AttentionPlan,
    params: AttentionParams,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of one layer.

    The step's own keys and values must be in the pool already. What the pool holds in slots
    without a token has no influence, non-finite values included.

    Args:
        query: [tokens, heads, head_dim]
        kv_pool: [block, layer, k/v, kv_head, token, head_dim]
        params: its window must be one of those that the plan was made for
        sinks: [heads] scores beside those of the keys, which take their share of the weights and
            have no values; None: there are none

    Returns:
        [tokens, heads * head_dim]
    """
    output: torch.Tensor | None = None
    for group in plan.groups:
        attended = _attend_group(query, kv_pool, layer, group, params, sinks)
        if group.rows is None:
            return attended
        if output is None:
            output = attended.new_empty(query.shape[0], attended.shape[1])
        output.index_copy_(0, group.rows, attended)
    assert output is not None, "a step has at least one sequence"
    return output


def _attend_group(
    query: torch.Tensor,
    kv_pool: torch.Tensor,
    layer: int,
    group: AttentionGroup,
    params: AttentionParams,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    keys, values = _gather(kv_pool, layer, group, params, query.dtype)
    if group.query_rows is not None:
        query = query.index_select(0, group.query_rows)
    num_heads, head_dim = query.shape[1:]
    num_kv_heads = keys.shape[1]
    mask = group.masks[params.window].to(query.dtype)
    if group.max_query_len == 1:
        folded = query.reshape(group.num_sequences, num_kv_heads, -1, head_dim)
        mask = mask.expand(-1, -1, folded.shape[2], -1)
        sinks = None if sinks is None else sinks.view(num_kv_heads, -1, 1)
        output = _attend(folded, keys, values, mask, params, sinks)
        return output.reshape(-1, num_heads * head_dim)
    padded = query.reshape(group.num_sequences, group.max_query_len, num_heads, head_dim)
    sinks = None if sinks is None else sinks.view(num_heads, 1, 1)
    output = _attend(padded.transpose(1, 2), keys, values, mask, params, sinks)
    output = output.transpose(1, 2).reshape(-1, num_heads * head_dim)
    return output if group.padded_rows is None else output.index_select(0, group.padded_rows)


def _attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    params: AttentionParams,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """All [sequences, heads, queries or keys, head_dim], keys and values with fewer heads.

    Sinks are [heads, 1 or queries, 1].
    """
    if params.softcap is None and sinks is None:
        return F.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, scale=params.scale, enable_gqa=True
        )
    group_size = query.shape[1] // keys.shape[1]
    keys, values = (x.repeat_interleave(group_size, dim=1) for x in (keys, values))
    scores = torch.matmul(query * params.scale, keys.transpose(-1, -2))
    if params.softcap is not None:
        scores = (scores / params.softcap).tanh_().mul_(params.softcap)
    weights = _softmax(scores.add_(mask), sinks)
    return torch.matmul(weights.to(values.dtype), values)


def _softmax(scores: torch.Tensor, sinks: torch.Tensor | None) -> torch.Tensor:
    """Weights of the keys in float32; beside sinks they do not add up to one."""
    if sinks is None:
        return scores.softmax(dim=-1, dtype=torch.float32)
    column = sinks.float().expand(*scores.shape[:-1], 1)
    weights = torch.cat((scores, column), dim=-1).softmax(dim=-1, dtype=torch.float32)
    return weights[..., :-1]


def _gather(
    kv_pool: torch.Tensor,
    layer: int,
    group: AttentionGroup,
    params: AttentionParams,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of a group, each [sequences, kv_heads, tokens, head_dim], all finite."""
    num_kv_heads, block_size, head_dim = kv_pool.shape[3:]
    # Gathered as plain bytes where torch has no gather for the type.
    stored = kv_pool.view(torch.uint8) if kv_pool.dtype.itemsize == 1 else kv_pool
    rows = stored.view(-1, block_size * head_dim)[layer * 2 * num_kv_heads :]
    gathered = rows.index_select(0, group.kv_rows).view(-1, head_dim)
    gathered = gathered.view(kv_pool.dtype).to(dtype)
    # A masked key's weight is 0, but 0 * NaN is NaN: the mask alone does not keep garbage out.
    gathered.index_fill_(0, group.unused_rows, 0.0)
    keys, values = gathered.view(2, group.num_sequences, num_kv_heads, -1, head_dim)
    if params.key_scale != 1:
        keys = keys * params.key_scale
    if params.value_scale != 1:
        values = values * params.value_scale
    return keys, values
