"""Causal latent attention of prompts for Hopper GPUs: latent_prefill.py's tiles of queries, with
the tasks of latent_gluon_piece.py.

Programs stay for as long as there are tiles, so that the loader is ahead when one ends.
"""

import math

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.device import num_multiprocessors
from legato.kernels.gpu.latent_gluon_piece import (
    FOLLOWER_REGISTERS,
    HALF,
    LATENT_DIM,
    LOADER_REGISTERS,
    MAX_REGISTERS,
    ROWS,
    STORED_DIM,
    TILE,
    copy_queries,
    describe_pool,
    follow_tiles,
    load_tiles,
    make_memory,
    scores_layout,
    store_half,
    sums_layout,
    supports_pool,
    weigh_tiles,
    wide_layout,
)
from legato.kernels.gpu.prefill_gluon_loader import item_of
from legato.kernels.gpu.prefill_work import PrefillWork, max_num_tiles

_LOG2_E = math.log2(math.e)


def supports_specialized(
    query: torch.Tensor, kv_pool: torch.Tensor, work: PrefillWork, value_dim: int
) -> bool:
    """Whether `specialized_latent_prefill` computes this."""
    return work.config.block_m == ROWS.value and supports_pool(query, kv_pool, value_dim)


def specialized_latent_prefill(
    query: torch.Tensor,
    kv_pool: torch.Tensor,
    layer: int,
    batch: AttentionBatch,
    work: PrefillWork,
    params: AttentionParams,
    group: int,
    output: torch.Tensor,
) -> None:
    """As `latent_prefill`, for tiles of `group` heads; only where `supports_specialized`."""
    num_rows, num_heads = query.shape[:2]
    num_groups = num_heads // group
    places = max_num_tiles(num_rows, batch.max_sequences, work.queries_per_tile) * num_groups
    latent_prefill_kernel[(max(min(places, num_multiprocessors(kv_pool.device)), 1),)](
        query,
        describe_pool(kv_pool),
        output,
        work.tiles,
        work.num_tiles,
        batch.context_lens,
        batch.block_tables,
        batch.block_tables.stride(0),
        kv_pool.shape[1],
        layer,
        params.scale * _LOG2_E,
        GROUP=group,
        NUM_GROUPS=num_groups,
        BLOCK_SIZE=kv_pool.shape[4],
        num_warps=4,
        maxnreg=MAX_REGISTERS,
    )


@gluon.jit(do_not_specialize=["table_stride", "num_layers", "layer"])
def latent_prefill_kernel(
    query,  # [rows, heads, stored_dim]
    pool_desc,
    output,  # [rows, heads, latent_dim]
    tiles,  # [max_tiles, 4]
    num_tiles,  # [1]
    context_lens,  # [sequences]
    block_tables,  # [sequences, max_blocks]
    table_stride,
    num_layers,
    layer,
    score_scale,
    GROUP: gl.constexpr,
    NUM_GROUPS: gl.constexpr,
    BLOCK_SIZE: gl.constexpr,
):
    queries, slots, message = make_memory(pool_desc.dtype)
    work = (tiles, gl.load(num_tiles) * NUM_GROUPS, GROUP, NUM_GROUPS)
    pool = (pool_desc, num_layers, layer)
    gl.warp_specialize(
        [
            (_weigh, (work, query, output, context_lens, score_scale, queries, slots, message)),
            (_follow, (work, output, slots, message)),
            (_load, (work, block_tables, table_stride, pool, slots, BLOCK_SIZE)),
        ],
        [4, 1],
        [FOLLOWER_REGISTERS, LOADER_REGISTERS],
    )


@gluon.jit
def _num_key_tiles(tile):
    """Tiles of keys that the queries of a tile see."""
    return gl.cdiv(gl.load(tile + 3) + gl.load(tile + 2), TILE)


@gluon.jit
def _places(work, item, layout: gl.constexpr):
    """Of each row, in `layout`: its head among all rows', its position, whether it is a query.

    Rows beyond the queries are the last query again.
    """
    tiles, _, group, num_groups = work
    tile = tiles + item // num_groups * 4
    num_queries = gl.load(tile + 2)
    row = gl.arange(0, ROWS, gl.SliceLayout(1, layout))
    query_index = gl.minimum(row // group, num_queries - 1)
    query_row = (gl.load(tile + 1) + query_index).to(gl.int64)
    head = query_row * (num_groups * group) + item % num_groups * group + row % group
    return head, gl.load(tile + 3) + query_index, row < num_queries * group


@gluon.jit
def _load(work, block_tables, table_stride, pool, slots, BLOCK_SIZE: gl.constexpr):
    tiles, num_items, _, num_groups = work
    step = 0
    for round_index in range(gl.cdiv(num_items, gl.num_programs(0))):
        item = item_of(round_index)
        if item < num_items:
            tile = tiles + item // num_groups * 4
            block_table = block_tables + gl.load(tile).to(gl.int64) * table_stride
            count = _num_key_tiles(tile)
            step = load_tiles(pool, slots, block_table, 0, count, step, BLOCK_SIZE)


@gluon.jit
def _weigh(work, query, output, context_lens, score_scale, queries, slots, message):
    tiles, num_items, _, num_groups = work
    step = 0
    messages = 0
    for round_index in range(gl.cdiv(num_items, gl.num_programs(0))):
        item = item_of(round_index)
        if item < num_items:
            tile = tiles + item // num_groups * 4
            num_keys = gl.load(context_lens + gl.load(tile))
            head, _position, _is_row = _places(work, item, wide_layout())
            copy_queries(query + head * STORED_DIM, queries)
            _head, position, _is_row = _places(work, item, scores_layout())
            sums, _lse, step, messages = weigh_tiles(
                queries, slots, message, position, 0, _num_key_tiles(tile), num_keys,
                score_scale, step, messages,
            )  # fmt: skip
            head, _position, is_row = _places(work, item, sums_layout())
            store_half(sums, output + head * LATENT_DIM, is_row, 0)


@gluon.jit
def _follow(work, output, slots, message):
    tiles, num_items, _, num_groups = work
    step = 0
    messages = 0
    for round_index in range(gl.cdiv(num_items, gl.num_programs(0))):
        item = item_of(round_index)
        if item < num_items:
            count = _num_key_tiles(tiles + item // num_groups * 4)
            sums, step, messages = follow_tiles(slots, message, count, step, messages)
            head, _position, is_row = _places(work, item, sums_layout())
            store_half(sums, output + head * LATENT_DIM, is_row, HALF)
