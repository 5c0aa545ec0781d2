"""A tile of a weight, [rows, inputs]: parts of kernels that read it once for few tokens.

Rows of gated products are gates and ups:

weight    | gates: dim rows           | ups: dim rows              |
tile 1          | half |                    | half |                 BLOCK_ROWS = 2 * half
"""

import triton
import triton.language as tl

_LOG2_E = tl.constexpr(1.4426950408889634)
_PREFETCH_PIECE = tl.constexpr(128)  # inputs, 256 bytes


@triton.jit
def weight_rows(tile, num_rows, BLOCK_ROWS: tl.constexpr, IS_GATED: tl.constexpr):
    """[BLOCK_ROWS] of a tile: if gated, the first half are gates and the second half their ups."""
    index = tl.arange(0, BLOCK_ROWS)
    if IS_GATED:
        HALF: tl.constexpr = BLOCK_ROWS // 2
        rows = tile * HALF + index + tl.where(index < HALF, 0, num_rows // 2 - HALF)
    else:
        rows = tile * BLOCK_ROWS + index
    return rows


@triton.jit
def prefetch(row_ptrs, NUM_INPUTS: tl.constexpr):
    """Has the L2 cache fetch the first inputs of each row."""
    pieces = tl.arange(0, NUM_INPUTS // _PREFETCH_PIECE) * _PREFETCH_PIECE
    tl.inline_asm_elementwise(
        "cp.async.bulk.prefetch.L2.global [$1], 256; mov.u32 $0, 0;",
        "=r,l",
        [row_ptrs[:, None] + pieces[None, :]],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )


@triton.jit
def gate(sums):
    """[2 * dim, tokens], gates before ups -> silu(gate) * up, [dim, tokens]"""
    gates, ups = _halves(sums)
    return gate_of(gates, ups)


@triton.jit
def gate_of(gates, ups):
    """silu(gate) * up"""
    return ups * gates / (1 + tl.exp2(gates * -_LOG2_E))


@triton.jit
def clamped_gate(sums, LIMIT: tl.constexpr, SLOPE: tl.constexpr):
    """As `gate`, but for ClampedGate."""
    gates, ups = _halves(sums)
    return clamped_gate_of(gates, ups, LIMIT, SLOPE)


@triton.jit
def clamped_gate_of(gates, ups, LIMIT: tl.constexpr, SLOPE: tl.constexpr):
    """The gated values that ClampedGate describes."""
    gates = tl.minimum(gates, LIMIT)
    ups = tl.minimum(tl.maximum(ups, -LIMIT), LIMIT)
    return (ups + 1) * gates / (1 + tl.exp2(gates * (-_LOG2_E * SLOPE)))


@triton.jit
def _halves(sums):
    """Gates and ups, each [dim, tokens]"""
    pairs = tl.reshape(sums, [2, sums.shape[0] // 2, sums.shape[1]])
    return tl.split(tl.permute(pairs, [1, 2, 0]))
