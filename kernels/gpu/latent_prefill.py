"""Causal latent attention of prompts, or of chunks of them, over the block pool.

A program computes one tile of queries (prefill_work.py) for one group of their heads:

    rows of a tile:   | query 0: heads 0 .. group-1 | query 1: heads 0 .. group-1 | ... | unused |
"""

import math

import torch
import triton
import triton.language as tl

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.latent_piece import attend, load_queries
from legato.kernels.gpu.latent_prefill_gluon import (
    specialized_latent_prefill,
    supports_specialized,
)
from legato.kernels.gpu.latent_shape import LatentShape, heads_of_group
from legato.kernels.gpu.prefill_work import PrefillWork, max_num_tiles

_LOG2_E = math.log2(math.e)


def latent_prefill(
    query: torch.Tensor,
    kv_pool: torch.Tensor,
    layer: int,
    batch: AttentionBatch,
    work: PrefillWork,
    params: AttentionParams,
    output: torch.Tensor,
) -> None:
    """Attends for the sequences with two queries or more; other rows of `output` stay as they are.

    Args:
        query, kv_pool, output: as in latent_decode.py
        work: of this batch, by `plan_prefill`, for as many heads as `heads_of_group` says
    """
    num_rows, num_heads, head_dim = query.shape
    num_layers, block_size, value_dim = kv_pool.shape[1], kv_pool.shape[4], output.shape[2]
    config, group = work.config, heads_of_group(num_heads)
    if supports_specialized(query, kv_pool, work, value_dim):
        specialized_latent_prefill(query, kv_pool, layer, batch, work, params, group, output)
        return
    num_tiles = max_num_tiles(num_rows, batch.max_sequences, work.queries_per_tile)
    _latent_prefill_kernel[(num_heads // group, num_tiles)](
        query,
        kv_pool,
        output,
        work.tiles,
        batch.block_tables,
        batch.block_tables.stride(0),
        num_layers,
        layer,
        params.scale * _LOG2_E,
        SHAPE=LatentShape(
            group=group,
            num_groups=num_heads // group,
            rows=config.block_m,
            latent_dim=value_dim,
            rope_dim=head_dim - value_dim,
            block_size=block_size,
            tile=config.block_n,
        ),
        num_warps=config.num_warps,
        num_stages=config.num_stages,
    )


@triton.jit(do_not_specialize=["table_stride", "num_layers", "layer"])
def _latent_prefill_kernel(
    query,  # [rows, heads, stored_dim]
    kv_pool,
    output,  # [rows, heads, latent_dim]
    tiles,  # [tiles, 4]
    block_tables,
    table_stride,
    num_layers,
    layer,
    score_scale,
    SHAPE: tl.constexpr,
):
    tile = tiles + tl.program_id(1) * 4
    num_queries = tl.load(tile + 2)
    if num_queries == 0:
        return
    first_row, first_position = tl.load(tile + 1), tl.load(tile + 3)
    # Rows beyond the queries compute the last query again, and are not stored.
    row = tl.arange(0, SHAPE.rows)
    query_index = tl.minimum(row // SHAPE.group, num_queries - 1)
    head = tl.program_id(0) * SHAPE.group + row % SHAPE.group
    query_head = (first_row + query_index).to(tl.int64) * (SHAPE.num_groups * SHAPE.group) + head
    queries, rope_queries = load_queries(query + query_head * SHAPE.stored_dim, row >= 0, SHAPE)
    num_keys = first_position + num_queries
    result, _ = attend(
        queries, rope_queries, first_position + query_index, kv_pool + layer * SHAPE.layer_elements,
        block_tables + tl.load(tile).to(tl.int64) * table_stride, 0,
        tl.cdiv(num_keys, SHAPE.tile), num_keys, num_layers, score_scale, SHAPE,
    )  # fmt: skip
    dims = tl.arange(0, SHAPE.dims)
    tl.store(
        output + query_head[:, None] * SHAPE.latent_dim + dims[None, :],
        result.to(output.dtype.element_ty),
        mask=(row < num_queries * SHAPE.group)[:, None] & (dims < SHAPE.latent_dim)[None, :],
    )
