"""Attention of sequences with one query each over keys and values in the block pool.

Reading the pool is all that takes time, so every key and value is read once: the query heads that
share a KV head are the rows of one small matrix. Tiles of tokens are shared out evenly over a
fixed number of programs, see decode_work.py, and each program walks along its span:

    for each piece (a sequence's KV head) in the span:
        for each tile of the piece in the span:    scores, running softmax, weighted values
        the whole piece was in the span?           store the output
        else                                       store a partial result; the program whose part
                                                   is the piece's last to be ready merges them all,
                                                   see decode_merge.py

Programs that wait, for the kernel before them or for stores, have asked for their next tiles.
Parts are merged in the order of their tokens, whoever does it: results do not depend on timing.
"""

import math

import torch
import triton
import triton.language as tl

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.decode_merge import finish_part
from legato.kernels.gpu.decode_piece import PieceShape, attend, prefetch
from legato.kernels.gpu.decode_work import ITEM_FIELDS, NO_WINDOW, SPAN_FIELDS, DecodeWork
from legato.kernels.gpu.device import can_launch_early
from legato.kernels.gpu.sinks import leave_to_sinks

_LOG2_E = math.log2(math.e)


def decode_attention(
    query: torch.Tensor,
    kv_pool: torch.Tensor,
    layer: int,
    batch: AttentionBatch,
    work: DecodeWork,
    params: AttentionParams,
    output: torch.Tensor,
    sinks: torch.Tensor | None = None,
) -> None:
    """Attention of the sequences that have exactly one query; other rows are left alone.

    The step's own keys and values must be in the pool already. What the pool holds in slots
    without a token has no influence, non-finite values included.

    Args:
        query: [rows, heads, head_dim]; rows may lie further apart
        kv_pool: [block, layer, k/v, kv_head, token, head_dim], contiguous
        work: planned for this batch, with the window of `params`
        output: [rows, heads * head_dim], contiguous
        sinks: [heads] contiguous, scores beside those of the keys; None: there are none
    """
    assert params.window == work.window
    num_layers, _, num_kv_heads, block_size, head_dim = kv_pool.shape[1:]
    query_scale, score_scale = _scales(params, kv_pool.dtype)
    packing = 2 if kv_pool.dtype == torch.float8_e4m3fn else 1
    config = work.config
    launches_early = config.launches_early and can_launch_early(query.device)
    _decode_kernel[(work.num_programs,)](
        query,
        kv_pool.view(torch.uint16) if packing == 2 else kv_pool,
        output,
        batch.block_tables,
        work.items,
        work.spans,
        work.partial_outputs,
        work.partial_lses,
        work.arrivals,
        sinks,
        query.stride(0),
        batch.block_tables.stride(0),
        num_layers * 2 * num_kv_heads,
        layer * 2 * num_kv_heads,
        work.window or NO_WINDOW,
        query_scale,
        score_scale,
        (params.softcap or 0.0) * _LOG2_E,
        params.value_scale,
        SHAPE=PieceShape(
            group=query.shape[1] // num_kv_heads,
            num_kv_heads=num_kv_heads,
            head_dim=head_dim,
            block_size=block_size,
            tile=config.tile,
            has_softcap=params.softcap is not None,
            swaps_operands=config.swaps_operands,
            packing=packing,
            prefetches=config.prefetches and query.is_cuda,
            is_interpreted=not query.is_cuda,
        ),
        LAUNCHES_EARLY=launches_early,
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        maxnreg=config.max_registers,
        launch_pdl=launches_early,
    )


def _scales(params: AttentionParams, kv_dtype: torch.dtype) -> tuple[float, float]:
    """Factors of queries, before they are rounded to the type of the products, and of scores.

    Scores become powers of two, or exponents of the softcap's tanh. Where keys have 8 bits,
    products are in float16, whose range large queries need the scale for.
    """
    score_scale = params.key_scale * (2 / params.softcap if params.softcap else 1.0) * _LOG2_E
    if kv_dtype.itemsize == 1:
        return params.scale, score_scale
    return 1.0, params.scale * score_scale


@triton.jit(do_not_specialize=["table_stride", "pool_heads", "layer_head", "window"])
def _decode_kernel(
    query,
    kv_pool,
    output,
    block_tables,
    items,
    spans,
    partial_outputs,
    partial_lses,
    arrivals,
    sinks,
    query_stride,
    table_stride,
    pool_heads,
    layer_head,
    window,
    query_scale,
    score_scale,
    softcap,
    value_scale,
    SHAPE: tl.constexpr,
    LAUNCHES_EARLY: tl.constexpr,
):
    """Walks along one span; positions are tiles of the whole line.

    A block of the pool has pool_heads of [token, head_dim], the layer's first key head is
    layer_head.
    """
    program = tl.program_id(0)
    fields = spans + program * SPAN_FIELDS
    position, end, span, item = _load_four(fields, True)
    sequence, row, context_len, item_begin = _load_four(fields + 4, True)
    if LAUNCHES_EARLY:
        # Plan and block tables are complete: `plan_decode` lets nothing start before its end.
        _prefetch_piece(
            kv_pool, block_tables + sequence * table_stride, position, end, item_begin,
            context_len, window, pool_heads, layer_head, SHAPE,
        )  # fmt: skip
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    rows = tl.arange(0, SHAPE.rows)[:, None]
    dims = tl.arange(0, SHAPE.dims)[None, :]
    offsets = rows * SHAPE.head_dim + dims
    mask = (rows < SHAPE.group) & (dims < SHAPE.head_dim)
    piece_elements: tl.constexpr = SHAPE.group * SHAPE.head_dim
    # Float16 holds numbers of 8 bits exactly.
    dtype: tl.constexpr = tl.float16 if SHAPE.packing == 2 else kv_pool.dtype.element_ty

    while position < end:
        kv_head, skipped, count, num_tiles, first_token = _piece(
            position, end, item_begin, context_len, window, SHAPE
        )
        queries = tl.load(query + row * query_stride + kv_head * piece_elements + offsets, mask)
        queries = (queries.to(tl.float32) * query_scale).to(dtype)
        key_pool = kv_pool + (layer_head + kv_head).to(tl.int64) * SHAPE.block_elements
        table = block_tables + sequence * table_stride
        tile = first_token // SHAPE.tile + skipped
        result, lse = attend(
            queries, key_pool, table, tile, count,
            first_token, context_len, pool_heads, score_scale, softcap, SHAPE,
        )  # fmt: skip
        piece_output = output + (row * SHAPE.num_kv_heads + kv_head) * piece_elements
        piece_begin, position = position - skipped, position + count
        item += (position == item_begin + num_tiles * SHAPE.num_kv_heads).to(tl.int32)
        fields = items + item * ITEM_FIELDS
        sequence, row, context_len, item_begin = _load_four(fields, position < end)
        _prefetch_piece(
            kv_pool, block_tables + sequence * table_stride, position, end, item_begin,
            context_len, window, pool_heads, layer_head, SHAPE,
        )  # fmt: skip
        if count == num_tiles:
            result = leave_to_sinks(result, lse, sinks, kv_head * SHAPE.group, SHAPE.group)
            tl.store(piece_output + offsets, result * value_scale, mask)
        else:
            first = piece_begin // span  # program
            num_parts = (piece_begin + num_tiles - 1) // span - first + 1
            finish_part(
                result, lse, program, first, num_parts, partial_outputs, partial_lses, arrivals,
                piece_output, value_scale, sinks, kv_head, SHAPE,
            )  # fmt: skip


@triton.jit
def _prefetch_piece(
    kv_pool,
    block_table,
    position,
    end,
    item_begin,
    context_len,
    window,
    pool_heads,
    layer_head,
    SHAPE: tl.constexpr,
):
    """Asks for the first tiles of the piece at a position, if the span reaches that far."""
    if SHAPE.prefetches and position < end:
        kv_head, skipped, count, _, first_token = _piece(
            position, end, item_begin, context_len, window, SHAPE
        )
        key_pool = kv_pool + (layer_head + kv_head).to(tl.int64) * SHAPE.block_elements
        tile = first_token // SHAPE.tile + skipped
        prefetch(key_pool, block_table, tile, count, first_token, context_len, pool_heads, SHAPE)


@triton.jit
def _piece(position, end, item_begin, context_len, window, SHAPE: tl.constexpr):
    """The piece at a position: its head, its tiles before the position, its tiles in the span from
    there, all its tiles, and the first token that is visible.
    """
    first_token = tl.maximum(context_len - window, 0)
    num_tiles = tl.cdiv(context_len, SHAPE.tile) - first_token // SHAPE.tile
    kv_head = (position - item_begin) // num_tiles
    skipped = (position - item_begin) % num_tiles
    count = tl.minimum(num_tiles - skipped, end - position)
    return kv_head, skipped, count, num_tiles, first_token


@triton.jit
def _load_four(fields, exist):
    first = tl.load(fields, exist, 0)
    second = tl.load(fields + 1, exist, 0)
    third = tl.load(fields + 2, exist, 0)
    return first, second, third, tl.load(fields + 3, exist, 0)
