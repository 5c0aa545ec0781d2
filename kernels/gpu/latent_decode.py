"""Latent attention of sequences with one query each, over the block pool.

Tiles of keys are shared out evenly over a fixed number of programs, and partial results merged, as
in decode_attention.py: a piece is one group of a sequence's heads, all groups of a sequence lie
side by side in the line.
"""

import math

import torch
import triton
import triton.language as tl

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.decode_merge import finish_part
from legato.kernels.gpu.decode_work import ITEM_FIELDS, SPAN_FIELDS, DecodeWork
from legato.kernels.gpu.device import can_launch_early
from legato.kernels.gpu.latent_decode_gluon import specialized_latent_decode, supports_specialized
from legato.kernels.gpu.latent_gluon_piece import ROWS, is_specialized_for
from legato.kernels.gpu.latent_merge import merge_latent_parts
from legato.kernels.gpu.latent_piece import attend, load_queries
from legato.kernels.gpu.latent_shape import LatentShape, heads_of_group, rows_of_group

_LOG2_E = math.log2(math.e)


def heads_of_decode_group(
    num_heads: int, latent_dim: int, kv_dtype: torch.dtype, device: torch.device
) -> int:
    """Heads that are in one tile, as `latent_decode` is quickest with."""
    rows = int(ROWS.value)
    is_specialized = num_heads % rows == 0 and is_specialized_for(latent_dim, kv_dtype, device)
    return rows if is_specialized else heads_of_group(num_heads)


def latent_decode(
    query: torch.Tensor,
    kv_pool: torch.Tensor,
    layer: int,
    batch: AttentionBatch,
    work: DecodeWork,
    params: AttentionParams,
    output: torch.Tensor,
) -> None:
    """Attention of the sequences that have exactly one query; other rows are left alone.

    The step's own keys must be in the pool already. What the pool holds in slots without a token
    has no influence, non-finite values included.

    Args:
        query: [rows, heads, head_dim] contiguous
        kv_pool: [block, layer, 1, 1, token, head_dim] contiguous, in the query's type
        work: planned for this batch; its "kv_heads" are groups of heads
        output: [rows, heads, value_dim] contiguous
    """
    num_layers, block_size, head_dim = kv_pool.shape[1], kv_pool.shape[4], kv_pool.shape[5]
    config, num_groups, value_dim = work.config, work.shape.num_kv_heads, output.shape[2]
    group = query.shape[1] // num_groups
    shape = LatentShape(
        group=group,
        num_groups=num_groups,
        rows=rows_of_group(group),
        latent_dim=value_dim,
        rope_dim=head_dim - value_dim,
        block_size=block_size,
        tile=config.tile,
    )
    if supports_specialized(query, kv_pool, work):
        specialized_latent_decode(query, kv_pool, layer, batch, work, params, output)
        merge_latent_parts(work, shape, output)
        return
    launches_early = config.launches_early and can_launch_early(query.device)
    _latent_decode_kernel[(work.num_programs,)](
        query,
        kv_pool,
        output,
        batch.block_tables,
        work.items,
        work.spans,
        work.partial_outputs,
        work.partial_lses,
        work.arrivals,
        batch.block_tables.stride(0),
        num_layers,
        layer,
        params.scale * _LOG2_E,
        SHAPE=shape,
        LAUNCHES_EARLY=launches_early,
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        maxnreg=config.max_registers,
        launch_pdl=launches_early,
    )


@triton.jit(do_not_specialize=["table_stride", "num_layers", "layer"])
def _latent_decode_kernel(
    query,
    kv_pool,
    output,
    block_tables,
    items,
    spans,
    partial_outputs,
    partial_lses,
    arrivals,
    table_stride,
    num_layers,
    layer,
    score_scale,
    SHAPE: tl.constexpr,
    LAUNCHES_EARLY: tl.constexpr,
):
    """Walks along one span; positions are tiles of the whole line."""
    program = tl.program_id(0)
    if LAUNCHES_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    fields = spans + program * SPAN_FIELDS
    position, end, span = tl.load(fields), tl.load(fields + 1), tl.load(fields + 2)
    item = tl.load(fields + 3)
    rows = tl.arange(0, SHAPE.rows)
    is_row = rows < SHAPE.group
    dims = tl.arange(0, SHAPE.dims)
    mask = is_row[:, None] & (dims < SHAPE.latent_dim)[None, :]
    keys = kv_pool + layer * SHAPE.layer_elements
    while position < end:
        fields = items + item * ITEM_FIELDS
        sequence, row = tl.load(fields), tl.load(fields + 1)
        context_len, item_begin = tl.load(fields + 2), tl.load(fields + 3)
        num_tiles = tl.cdiv(context_len, SHAPE.tile)
        group, first = (position - item_begin) // num_tiles, (position - item_begin) % num_tiles
        count = tl.minimum(num_tiles - first, end - position)
        first_head = (row.to(tl.int64) * SHAPE.num_groups + group) * SHAPE.group
        queries, rope_queries = load_queries(
            query + (first_head + rows) * SHAPE.stored_dim, is_row, SHAPE
        )
        result, lse = attend(
            queries, rope_queries, tl.zeros_like(rows) + context_len - 1, keys,
            block_tables + sequence * table_stride, first, first + count, context_len,
            num_layers, score_scale, SHAPE,
        )  # fmt: skip
        piece_output = output + first_head * SHAPE.latent_dim
        if count == num_tiles:
            offsets = rows[:, None] * SHAPE.latent_dim + dims[None, :]
            tl.store(piece_output + offsets, result, mask)
        else:
            begin = position - first
            first_program = begin // span
            num_parts = (begin + num_tiles - 1) // span - first_program + 1
            finish_part(
                result, lse, program, first_program, num_parts, partial_outputs, partial_lses,
                arrivals, piece_output, 1.0, None, 0, SHAPE,
            )  # fmt: skip
        position += count
        item += (position == item_begin + num_tiles * SHAPE.num_groups).to(tl.int32)
