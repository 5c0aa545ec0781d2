"""Merges the parts of a piece of decode attention, once the last of them is ready.

Parts lie in the workspace at places of their own, seen from the first part's program: the first
part at place 1, since that program's span ends in it, and part i at place 2 * i, since its
program's span begins in it.

    partial_outputs [places, group, head_dim]    partial_lses [places, group]

Every program counts its part as stored; the one that finds all others counted merges them. This
module does not know how parts are computed.
"""

import triton
import triton.language as tl

from legato.kernels.gpu.sinks import leave_to_sinks


@triton.jit
def finish_part(
    result,
    lse,
    program,
    first_program,
    num_parts,
    partial_outputs,
    partial_lses,
    arrivals,
    output,
    value_scale,
    sinks,
    kv_head,
    SHAPE: tl.constexpr,
):
    """Stores a part, and if it is the last that was missing, the piece's output.

    Args:
        result, lse: as `attend` returns them, [rows, dims] and [rows]
        program: the one whose part this is; the piece begins in the first program's span
        arrivals: counts of stored parts, the piece's at its first program; 0 again afterwards
        output: [group, head_dim]
        sinks: [heads]; None: there are none
        kv_head: the piece's
    """
    partial_outputs += first_program * 2 * SHAPE.group * SHAPE.head_dim
    partial_lses += first_program * 2 * SHAPE.group
    arrivals += first_program
    rows = tl.arange(0, SHAPE.rows)
    dims = tl.arange(0, SHAPE.dims)
    row_of_place = _place(program - first_program) * SHAPE.group + rows
    is_row = rows < SHAPE.group
    pointers = partial_outputs + row_of_place[:, None] * SHAPE.head_dim + dims[None, :]
    tl.store(pointers, result, is_row[:, None] & (dims < SHAPE.head_dim)[None, :])
    tl.store(partial_lses + row_of_place, lse, is_row)
    tl.debug_barrier()  # the whole program's stores come before its arrival
    if tl.atomic_add(arrivals, 1, sem="acq_rel") == num_parts - 1:
        tl.store(arrivals, 0)
        _merge_parts(
            partial_outputs, partial_lses, num_parts, output, value_scale, sinks, kv_head, SHAPE
        )


@triton.jit
def _merge_parts(
    partial_outputs,
    partial_lses,
    num_parts,
    output,
    value_scale,
    sinks,
    kv_head,
    SHAPE: tl.constexpr,
):
    ALL_DIMS: tl.constexpr = SHAPE.dims
    DIMS: tl.constexpr = SHAPE.merged_dims
    for first_dim in tl.static_range(0, ALL_DIMS, DIMS):
        merge_dims(
            partial_outputs, partial_lses, num_parts, output, value_scale, sinks, kv_head,
            first_dim, SHAPE,
        )  # fmt: skip


@triton.jit
def merge_dims(
    partial_outputs,
    partial_lses,
    num_parts,
    output,
    value_scale,
    sinks,
    kv_head,
    first_dim,
    SHAPE: tl.constexpr,
):
    """Sums up parts that lie side by side in registers: a round waits for memory once.

    Args:
        partial_outputs, partial_lses: the first part's program's places
        first_dim: of those that are merged, SHAPE.merged_dims
    """
    ROWS: tl.constexpr = SHAPE.merged_rows
    DIMS: tl.constexpr = SHAPE.merged_dims
    rows = tl.arange(0, ROWS)
    dims = first_dim + tl.arange(0, DIMS)
    outputs, lses = _load_parts(partial_outputs, partial_lses, 0, num_parts, dims, SHAPE)
    lse = _merged_lse(partial_lses, num_parts, SHAPE)
    result = tl.zeros([ROWS, DIMS], tl.float32)
    for first_part in range(0, num_parts, SHAPE.merged_parts):
        weights = tl.exp2(lses - lse[:, None])
        result += tl.sum(outputs * weights[:, :, None], 1)
        next_part = first_part + SHAPE.merged_parts
        outputs, lses = _load_parts(
            partial_outputs, partial_lses, next_part, num_parts, dims, SHAPE
        )
    result = leave_to_sinks(result, lse, sinks, kv_head * SHAPE.group, SHAPE.group)
    offsets = rows[:, None] * SHAPE.head_dim + dims[None, :]
    mask = (rows < SHAPE.group)[:, None] & (dims < SHAPE.head_dim)[None, :]
    tl.store(output + offsets, result * value_scale, mask)


@triton.jit
def _load_parts(partial_outputs, partial_lses, first_part, num_parts, dims, SHAPE: tl.constexpr):
    """Some parts' outputs, [rows, parts, dims], and log-sum-exps, [rows, parts]."""
    rows = tl.arange(0, SHAPE.merged_rows)
    part = first_part + tl.arange(0, SHAPE.merged_parts)
    lses = _load_lses(partial_lses, part, num_parts, SHAPE)
    row_of_place = _place(part)[None, :] * SHAPE.group + rows[:, None]
    mask = (part < num_parts)[None, :] & (rows < SHAPE.group)[:, None]
    outputs = tl.load(
        partial_outputs + row_of_place[:, :, None] * SHAPE.head_dim + dims[None, None, :],
        mask[:, :, None] & (dims < SHAPE.head_dim)[None, None, :],
        0.0,
        cache_modifier=".cg",
    )
    return outputs, lses


@triton.jit
def _load_lses(partial_lses, part, num_parts, SHAPE: tl.constexpr):
    """[rows, parts]; past the first-level cache: other multiprocessors wrote them."""
    rows = tl.minimum(tl.arange(0, SHAPE.merged_rows), SHAPE.group - 1)
    pointers = partial_lses + _place(part)[None, :] * SHAPE.group + rows[:, None]
    return tl.load(pointers, (part < num_parts)[None, :], float("-inf"), cache_modifier=".cg")


@triton.jit
def _place(part):
    return 2 * part + (part == 0).to(tl.int32)


@triton.jit
def _merged_lse(partial_lses, num_parts, SHAPE: tl.constexpr):
    """log2 of the sum of weights of all parts, [rows]."""
    ROWS: tl.constexpr = SHAPE.merged_rows
    LSES: tl.constexpr = SHAPE.merged_lses
    largest = tl.full([ROWS], float("-inf"), tl.float32)
    weight_sum = tl.zeros([ROWS], tl.float32)
    for first_part in range(0, num_parts, LSES):
        lses = _load_lses(partial_lses, first_part + tl.arange(0, LSES), num_parts, SHAPE)
        new_largest = tl.maximum(largest, tl.max(lses, 1))
        weight_sum *= tl.exp2(largest - new_largest)
        weight_sum += tl.sum(tl.exp2(lses - new_largest[:, None]), 1)
        largest = new_largest
    return largest + tl.log2(weight_sum)
