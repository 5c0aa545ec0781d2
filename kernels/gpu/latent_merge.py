"""Merges what latent_decode_gluon.py leaves of pieces that are cut into parts.

One row of programs for each span, since at most one piece begins in it and goes on behind it:

    spans     | span 0         | span 1         | span 2         |
    pieces    | A     | B                | C                  |
    merged by            program 0         program 1

Each of a row's programs has some of the dimensions.
"""

import torch
import triton
import triton.language as tl

from legato.kernels.gpu.decode_merge import merge_dims
from legato.kernels.gpu.decode_work import ITEM_FIELDS, SPAN_FIELDS, DecodeWork
from legato.kernels.gpu.latent_shape import LatentShape


def merge_latent_parts(work: DecodeWork, shape: LatentShape, output: torch.Tensor) -> None:
    """Writes the rows of `output`, [rows, heads, latent_dim], whose pieces lie in the workspace."""
    _latent_merge_kernel[(work.num_programs, shape.dims // shape.merged_dims)](
        output,
        work.items,
        work.spans,
        work.partial_outputs,
        work.partial_lses,
        SHAPE=shape,
        num_warps=8,
    )


@triton.jit
def _latent_merge_kernel(output, items, spans, partial_outputs, partial_lses, SHAPE: tl.constexpr):
    program = tl.program_id(0)
    fields = spans + program * SPAN_FIELDS
    position, end, span = tl.load(fields), tl.load(fields + 1), tl.load(fields + 2)
    item = tl.load(fields + 3)
    while position < end:
        fields = items + item * ITEM_FIELDS
        row, context_len, item_begin = (
            tl.load(fields + 1), tl.load(fields + 2), tl.load(fields + 3)
        )  # fmt: skip
        num_tiles = tl.cdiv(context_len, SHAPE.tile)
        group, first = (position - item_begin) // num_tiles, (position - item_begin) % num_tiles
        if (first == 0) & (position + num_tiles > end):
            num_parts = (position + num_tiles - 1) // span - program + 1
            first_head = (row.to(tl.int64) * SHAPE.num_groups + group) * SHAPE.group
            merge_dims(
                partial_outputs + program * 2 * SHAPE.group * SHAPE.head_dim,
                partial_lses + program * 2 * SHAPE.group,
                num_parts, output + first_head * SHAPE.head_dim, 1.0, None, 0,
                tl.program_id(1) * SHAPE.merged_dims, SHAPE,
            )  # fmt: skip
        position += num_tiles - first
        item += (position == item_begin + num_tiles * SHAPE.num_groups).to(tl.int32)
