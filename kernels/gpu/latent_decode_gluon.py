"""Latent attention of one query a sequence for Hopper GPUs, 64 heads at a time.

Programs walk along spans as in latent_decode.py, with the tasks of latent_gluon_piece.py. They
leave the parts of pieces that a span's edges cut off in the workspace, for latent_merge.py.
"""

import math

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.decode_work import ITEM_FIELDS, SPAN_FIELDS, DecodeWork
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

_LOG2_E = math.log2(math.e)


def supports_specialized(query: torch.Tensor, kv_pool: torch.Tensor, work: DecodeWork) -> bool:
    """Whether `specialized_latent_decode` computes this."""
    is_group = work.shape.num_heads == work.shape.num_kv_heads * ROWS.value
    is_tile = work.config.tile == TILE.value
    return is_group and is_tile and supports_pool(query, kv_pool, work.shape.head_dim)


def specialized_latent_decode(
    query: torch.Tensor,
    kv_pool: torch.Tensor,
    layer: int,
    batch: AttentionBatch,
    work: DecodeWork,
    params: AttentionParams,
    output: torch.Tensor,
) -> None:
    """All of `latent_decode` but merging; only where `supports_specialized`."""
    latent_decode_kernel[(work.num_programs,)](
        query,
        describe_pool(kv_pool),
        output,
        batch.block_tables,
        work.items,
        work.spans,
        work.partial_outputs,
        work.partial_lses,
        batch.block_tables.stride(0),
        kv_pool.shape[1],
        layer,
        params.scale * _LOG2_E,
        NUM_GROUPS=work.shape.num_kv_heads,
        BLOCK_SIZE=kv_pool.shape[4],
        num_warps=4,
        maxnreg=MAX_REGISTERS,
    )


@gluon.jit(do_not_specialize=["table_stride", "num_layers", "layer"])
def latent_decode_kernel(
    query,  # [rows, heads, stored_dim]
    pool_desc,
    output,  # [rows, heads, latent_dim]
    block_tables,  # [sequences, max_blocks]
    items,
    spans,
    partial_outputs,
    partial_lses,
    table_stride,
    num_layers,
    layer,
    score_scale,
    NUM_GROUPS: gl.constexpr,
    BLOCK_SIZE: gl.constexpr,
):
    queries, slots, message = make_memory(pool_desc.dtype)
    walk = (items, spans, NUM_GROUPS)
    places = (output, partial_outputs, partial_lses)
    pool = (pool_desc, num_layers, layer)
    gl.warp_specialize(
        [
            (_weigh, (walk, places, query, score_scale, queries, slots, message)),
            (_follow, (walk, places, slots, message)),
            (_load, (walk, block_tables, table_stride, pool, slots, BLOCK_SIZE)),
        ],
        [4, 1],
        [FOLLOWER_REGISTERS, LOADER_REGISTERS],
    )


@gluon.jit
def _span(walk):
    """First tile of the program's span in the line of all tiles, the one behind, and the item."""
    _, spans, _ = walk
    fields = spans + gl.program_id(0) * SPAN_FIELDS
    return gl.load(fields), gl.load(fields + 1), gl.load(fields + 3)


@gluon.jit
def _part(walk, position, end, item):
    """What of the item's piece at this position lies in the span.

    Returns:
        context length, the piece's first head among all rows', whether it lies in the span as a
        whole; the part's first tile, how many tiles it has; and the next item
    """
    items, _, num_groups = walk
    fields = items + item * ITEM_FIELDS
    context_len, item_begin = gl.load(fields + 2), gl.load(fields + 3)
    num_tiles = gl.cdiv(context_len, TILE)
    group, first = (position - item_begin) // num_tiles, (position - item_begin) % num_tiles
    count = gl.minimum(num_tiles - first, end - position)
    first_head = (gl.load(fields + 1).to(gl.int64) * num_groups + group) * ROWS
    is_last = position + count == item_begin + num_tiles * num_groups
    next_item = item + is_last.to(gl.int32)
    return context_len, first_head, count == num_tiles, first, count, next_item


@gluon.jit
def _load(walk, block_tables, table_stride, pool, slots, BLOCK_SIZE: gl.constexpr):
    items, _, _ = walk
    position, end, item = _span(walk)
    step = 0
    while position < end:
        _len, _head, _is_whole, first, count, next_item = _part(walk, position, end, item)
        sequence = gl.load(items + item * ITEM_FIELDS)
        block_table = block_tables + sequence.to(gl.int64) * table_stride
        step = load_tiles(pool, slots, block_table, first, count, step, BLOCK_SIZE)
        position += count
        item = next_item


@gluon.jit
def _weigh(walk, places, query, score_scale, queries, slots, message):
    _, _, partial_lses = places
    rows = gl.arange(0, ROWS, gl.SliceLayout(1, wide_layout()))
    of_scores: gl.constexpr = gl.SliceLayout(1, scores_layout())
    position, end, item = _span(walk)
    step = 0
    messages = 0
    while position < end:
        context_len, first_head, is_whole, first, count, item = _part(walk, position, end, item)
        copy_queries(query + (first_head + rows) * STORED_DIM, queries)
        last = gl.zeros([ROWS], gl.int32, of_scores) + (context_len - 1)
        sums, lse, step, messages = weigh_tiles(
            queries, slots, message, last, first, count, context_len, score_scale, step, messages
        )
        _store(sums, places, first_head, is_whole, first, 0)
        if not is_whole:
            gl.store(partial_lses + _place(first) * ROWS + gl.arange(0, ROWS, of_scores), lse)
        position += count


@gluon.jit
def _follow(walk, places, slots, message):
    position, end, item = _span(walk)
    step = 0
    messages = 0
    while position < end:
        _len, first_head, is_whole, first, count, item = _part(walk, position, end, item)
        sums, step, messages = follow_tiles(slots, message, count, step, messages)
        _store(sums, places, first_head, is_whole, first, HALF)
        position += count


@gluon.jit
def _place(first):
    """Where in the workspace a part belongs, see decode_merge.py."""
    return gl.program_id(0) * 2 + (first == 0).to(gl.int32)


@gluon.jit
def _store(sums, places, first_head, is_whole, first, FIRST_DIM: gl.constexpr):
    """Half of a result: where it belongs if it is whole, else to the workspace."""
    output, partial_outputs, _ = places
    rows = gl.arange(0, ROWS, gl.SliceLayout(1, sums_layout()))
    if is_whole:
        store_half(sums, output + (first_head + rows) * LATENT_DIM, rows >= 0, FIRST_DIM)
    else:
        place = _place(first).to(gl.int64) * ROWS
        store_half(sums, partial_outputs + (place + rows) * LATENT_DIM, rows >= 0, FIRST_DIM)
