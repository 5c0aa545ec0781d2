"""Products of tokens with weights of their experts, for any number of tokens.

    tile (expert, start, end)  x  rows of that expert's weight  ->  one program

The grid is as large as the worst distribution of tokens needs: programs behind the last tile end at
once. So only experts that have tokens are read, and the host need not know which. As in
small_linear.py the weight is the product's left side, because few tokens would not fill it.

The second product of a layer has its first weights fetched into the L2 cache while the first one is
under way (programmatic dependent launch): which experts are used has been known since before that.

Programs that follow each other compute `group_tiles` tiles with the same rows of a weight, then
the next rows: tiles of one expert find its weights in the L2 cache, and all rows find their tokens.

Most experts' last tile is not full. One that is nearly empty is computed by narrower instructions.

On Hopper GPUs, tiles of many pairs are expert_linear_gluon.py's, and few tokens token_experts.py's.
"""

import torch
import triton
import triton.language as tl

from legato.kernels.activation_kind import ClampedGate
from legato.kernels.gpu.device import can_launch_early
from legato.kernels.gpu.expert_routing import GpuExpertRoutes
from legato.kernels.gpu.experts_config import ProductConfig, ProductShape, choose_config
from legato.kernels.gpu.experts_table import TABLE
from legato.kernels.gpu.weight_tile import clamped_gate, gate, prefetch, weight_rows

_PREFETCH_INPUTS = 256  # of each row
_MAX_PREFETCH_PAIRS = 64  # of a tile; beyond, tensor cores are what is waited for


def expert_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    routes: GpuExpertRoutes,
    pairs_per_row: int,
    is_gated: bool,
    follows_product: bool = False,
    *,
    bias: torch.Tensor | None = None,
    clamped: ClampedGate | None = None,
    config: ProductConfig | None = None,
) -> torch.Tensor:
    """Each pair's row of `x` times the weight of its expert.

    Args:
        x: [pairs / pairs_per_row, inputs], rows may have a stride
        weight: [experts, outputs, inputs] contiguous
        is_gated: the result is silu(gate) * up; gates are the first half of the weight's rows
        follows_product: the kernel right before this one was launched here with the same routes
        bias: [experts, outputs] contiguous
        clamped: gates like this instead of by silu

    Returns:
        [pairs, outputs], half as many if gated; rows of padding are undefined
    """
    num_rows, num_inputs = weight.shape[1:]
    assert weight.is_contiguous() and x.stride(1) == 1
    assert bias is None or bias.is_contiguous()
    num_pairs = len(routes.pairs)
    shape = ProductShape(num_rows, num_inputs, routes.block_pairs, is_gated)
    config = config or choose_config(shape, weight.element_size(), TABLE)
    most_tiles = len(routes.tiles)
    num_row_tiles = triton.cdiv(num_rows, config.block_rows)
    group_tiles = min(config.group_tiles, triton.next_power_of_2(most_tiles))
    num_groups = triton.cdiv(most_tiles, group_tiles)
    is_early = can_launch_early(x.device)
    has_time = is_early and follows_product and routes.block_pairs <= _MAX_PREFETCH_PAIRS
    prefetches = has_time and num_inputs % _PREFETCH_INPUTS == 0
    out = x.new_empty(num_pairs, num_rows // 2 if is_gated else num_rows)
    expert_linear_kernel[(num_groups * group_tiles * num_row_tiles,)](
        x,
        weight,
        bias,
        out,
        routes.pairs,
        routes.tiles,
        routes.num_tiles,
        most_tiles,
        x.stride(0),
        NUM_ROWS=num_rows,
        NUM_INPUTS=num_inputs,
        PAIRS_PER_ROW=pairs_per_row,
        IS_GATED=is_gated,
        LIMIT=clamped.limit if clamped else None,
        SLOPE=clamped.slope if clamped else 1.0,
        BLOCK_PAIRS=routes.block_pairs,
        BLOCK_ROWS=config.block_rows,
        BLOCK_INPUTS=config.block_inputs,
        GROUP_TILES=group_tiles,
        TAIL_PAIRS=config.tail_pairs if config.tail_pairs < routes.block_pairs else 0,
        PREFETCH_INPUTS=_PREFETCH_INPUTS if prefetches else 0,
        FOLLOWS_PRODUCT=follows_product,
        IS_EARLY=is_early,
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        launch_pdl=is_early,
    )
    return out


@triton.jit(do_not_specialize=["most_tiles"])
def expert_linear_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    pairs_ptr,
    tiles_ptr,
    num_tiles_ptr,
    most_tiles,
    x_stride,
    NUM_ROWS: tl.constexpr,
    NUM_INPUTS: tl.constexpr,
    PAIRS_PER_ROW: tl.constexpr,
    IS_GATED: tl.constexpr,
    LIMIT: tl.constexpr,
    SLOPE: tl.constexpr,
    BLOCK_PAIRS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
    GROUP_TILES: tl.constexpr,
    TAIL_PAIRS: tl.constexpr,
    PREFETCH_INPUTS: tl.constexpr,
    FOLLOWS_PRODUCT: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    NUM_ROW_TILES: tl.constexpr = (NUM_ROWS + BLOCK_ROWS - 1) // BLOCK_ROWS
    program = tl.program_id(0)
    row_tile = program // GROUP_TILES % NUM_ROW_TILES
    tile = program // (GROUP_TILES * NUM_ROW_TILES) * GROUP_TILES + program % GROUP_TILES
    if tile >= most_tiles:
        return
    if IS_EARLY and not FOLLOWS_PRODUCT:
        tl.extra.cuda.gdc_wait()
    # All at once, though a tile behind the last one holds anything. Past the L1 cache, which is
    # only certain to forget older routes when a kernel waits.
    tile_ptr = tiles_ptr + tile * 4
    num_tiles = tl.load(num_tiles_ptr, cache_modifier=".cg")
    expert = tl.load(tile_ptr, cache_modifier=".cg").to(tl.int64)
    start = tl.load(tile_ptr + 1, cache_modifier=".cg")
    end = tl.load(tile_ptr + 2, cache_modifier=".cg")
    if tile >= num_tiles:
        return
    rows = weight_rows(row_tile, NUM_ROWS, BLOCK_ROWS, IS_GATED)
    # What is behind the last row is computed from it and not stored.
    rows = expert * NUM_ROWS + tl.minimum(rows, NUM_ROWS - 1)
    row_ptrs = weight_ptr + rows * NUM_INPUTS
    if PREFETCH_INPUTS > 0:
        prefetch(row_ptrs, PREFETCH_INPUTS)
    if IS_EARLY:
        tl.extra.cuda.gdc_launch_dependents()

    bias_ptrs = None if bias_ptr is None else bias_ptr + rows
    NUM_OUTPUTS: tl.constexpr = NUM_ROWS // 2 if IS_GATED else NUM_ROWS
    num_pairs = end - start
    for is_tail in tl.static_range(2 if TAIL_PAIRS > 0 else 1):
        has_its_size = num_pairs <= TAIL_PAIRS if is_tail else num_pairs > TAIL_PAIRS
        if has_its_size:
            _compute_tile(
                x_ptr,
                row_ptrs,
                bias_ptrs,
                out_ptr,
                pairs_ptr + start,
                num_pairs,
                row_tile,
                x_stride,
                NUM_INPUTS,
                NUM_OUTPUTS,
                PAIRS_PER_ROW,
                IS_GATED,
                LIMIT,
                SLOPE,
                BLOCK_INPUTS,
                TAIL_PAIRS if is_tail else BLOCK_PAIRS,
                IS_EARLY and FOLLOWS_PRODUCT,
            )


@triton.jit
def _compute_tile(
    x_ptr,
    row_ptrs,
    bias_ptrs,
    out_ptr,
    pairs_ptr,
    num_pairs,
    row_tile,
    x_stride,
    NUM_INPUTS: tl.constexpr,
    NUM_OUTPUTS: tl.constexpr,
    PAIRS_PER_ROW: tl.constexpr,
    IS_GATED: tl.constexpr,
    LIMIT: tl.constexpr,
    SLOPE: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
    BLOCK_PAIRS: tl.constexpr,
    WAITS: tl.constexpr,
):
    """Stores what the weight's rows make of a tile's pairs, which are at most BLOCK_PAIRS."""
    positions = tl.arange(0, BLOCK_PAIRS)
    is_pair = positions < num_pairs
    pairs = tl.load(pairs_ptr + positions, is_pair, other=0, cache_modifier=".cg").to(tl.int64)
    if WAITS:
        tl.extra.cuda.gdc_wait()
    x_ptrs = x_ptr + pairs // PAIRS_PER_ROW * x_stride
    sums = _multiply(row_ptrs, x_ptrs, is_pair, NUM_INPUTS, BLOCK_INPUTS)
    if bias_ptrs is not None:
        sums += tl.load(bias_ptrs).to(tl.float32)[:, None]
    if IS_GATED and LIMIT is None:
        sums = gate(sums)
    elif IS_GATED:
        sums = clamped_gate(sums, LIMIT, SLOPE)
    outputs = row_tile * sums.shape[0] + tl.arange(0, sums.shape[0])
    out_ptrs = out_ptr + pairs[None, :] * NUM_OUTPUTS + outputs[:, None]
    is_output = (outputs < NUM_OUTPUTS)[:, None] & is_pair[None, :]
    tl.store(out_ptrs, sums.to(out_ptr.dtype.element_ty), is_output)


@triton.jit
def _multiply(row_ptrs, x_ptrs, is_pair, NUM_INPUTS: tl.constexpr, BLOCK_INPUTS: tl.constexpr):
    """Sums [rows, pairs] over all inputs."""
    inputs = tl.arange(0, BLOCK_INPUTS)
    weight_ptrs = row_ptrs[:, None] + inputs[None, :]
    x_ptrs = x_ptrs[:, None] + inputs[None, :]
    sums = tl.zeros([row_ptrs.shape[0], x_ptrs.shape[0]], tl.float32)
    for first in range(0, NUM_INPUTS, BLOCK_INPUTS):
        if NUM_INPUTS % BLOCK_INPUTS == 0:
            weight = tl.load(weight_ptrs)
            x = tl.load(x_ptrs, is_pair[:, None], other=0.0)
        else:
            is_input = (first + inputs < NUM_INPUTS)[None, :]
            weight = tl.load(weight_ptrs, is_input, other=0.0)
            x = tl.load(x_ptrs, is_pair[:, None] & is_input, other=0.0)
        sums = tl.dot(weight, tl.trans(x), sums, input_precision="ieee")
        weight_ptrs += BLOCK_INPUTS
        x_ptrs += BLOCK_INPUTS
    return sums
