"""Linear layers for few tokens: weights are read once, as fast as memory gives them.

    weight [rows, inputs]:     inputs ->        split 0   split 1   split 2
                              tile 0          | p(0, 0) | p(0, 1) | p(0, 2) |
                              tile 1          | p(1, 0) | p(1, 1) | p(1, 2) |

Program p(t, s) multiplies its piece of the weight with all tokens. All programs should be on the
GPU at once: then they share the memory's bandwidth evenly, and no multiprocessor waits for another.
Where a tile has several, the last one that is done adds up the partial sums of all, always in the
same order, so that equal inputs give equal bits.

The weight is the product's left side and the tokens are its right one: a tensor core's left side
has 64 rows, which few tokens would not fill.

Programs of the next kernel may start while this one runs, and ours while the one before does
(programmatic dependent launch): until that one is done, the L2 cache fetches weights for them. No
kernel writes weights, and a cache does not mind if one did.

It does not know which configuration is good: small_linear_config.py.
"""

from dataclasses import dataclass
from functools import cache

import torch
import triton
import triton.language as tl

from legato.kernels.gpu.device import can_launch_early
from legato.kernels.gpu.small_linear_config import SmallLinearConfig, num_tokens_bucket
from legato.kernels.gpu.weight_tile import gate, prefetch, weight_rows

# Splits make programs out of few tiles; many tiles need none.
_MAX_SPLIT_TILES = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """What else the kernel does.

    Attributes:
        is_gated: the result is silu(gate) * up; gates are the first half of the weight's rows
        adds: the result is added to what is there
    """

    is_gated: bool = False
    adds: bool = False


_NOTHING = Fused()


def small_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    out: torch.Tensor,
    config: SmallLinearConfig,
    fused: Fused = _NOTHING,
) -> None:
    """Writes x @ weight.T + bias to `out`.

    Calls must run one after the other on a device: they share arrival counters.

    Args:
        x: [tokens, inputs], at most MAX_TOKENS tokens, whose rows may have a stride
        weight: [rows, inputs] contiguous
        bias: [rows]
        out: [tokens, outputs], rows may have a stride; half as many outputs as rows if gated
        config: must fit the weight
    """
    num_tokens, num_inputs = x.shape
    num_tiles, num_splits = weight.shape[0] // config.block_rows, config.num_splits
    block_tokens = num_tokens_bucket(num_tokens)
    is_early = can_launch_early(x.device)
    partials = None
    if num_splits > 1:
        assert num_tiles <= _MAX_SPLIT_TILES
        size = num_tiles * num_splits * block_tokens * config.block_rows
        partials = x.new_empty(size, dtype=torch.float32)
    small_linear_kernel[(num_tiles, num_splits)](
        x,
        weight,
        bias,
        out,
        partials,
        _arrival_counters(x.device),
        num_tokens,
        weight.shape[0],
        num_inputs,
        x.stride(0),
        out.stride(0),
        IS_GATED=fused.is_gated,
        ADDS=fused.adds,
        BLOCK_TOKENS=block_tokens,
        BLOCK_ROWS=config.block_rows,
        BLOCK_INPUTS=config.block_inputs,
        NUM_SPLITS=num_splits,
        PREFETCH_INPUTS=config.prefetch_inputs(num_inputs) if is_early else 0,
        IS_EARLY=is_early,
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        launch_pdl=is_early,
    )


@cache
def _arrival_counters(device: torch.device) -> torch.Tensor:
    """[tiles] programs that are done; zero between two kernels."""
    return torch.zeros(_MAX_SPLIT_TILES, dtype=torch.int32, device=device)


@triton.jit(do_not_specialize=["num_tokens"])
def small_linear_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    partials_ptr,
    counters_ptr,
    num_tokens,
    num_rows,
    num_inputs,
    x_stride,
    out_stride,
    IS_GATED: tl.constexpr,
    ADDS: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
    NUM_SPLITS: tl.constexpr,
    PREFETCH_INPUTS: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    tile, split = tl.program_id(0), tl.program_id(1)
    num_blocks = num_inputs // BLOCK_INPUTS
    start = num_blocks * split // NUM_SPLITS * BLOCK_INPUTS
    end = num_blocks * (split + 1) // NUM_SPLITS * BLOCK_INPUTS
    rows = weight_rows(tile, num_rows, BLOCK_ROWS, IS_GATED)
    row_ptrs = weight_ptr + rows.to(tl.int64) * num_inputs
    if IS_EARLY:
        # Whoever is next waits for the end of this kernel: it may as well come now, and fetch.
        tl.extra.cuda.gdc_launch_dependents()
        if PREFETCH_INPUTS > 0:
            prefetch(row_ptrs + start, PREFETCH_INPUTS)
        tl.extra.cuda.gdc_wait()

    tokens = tl.arange(0, BLOCK_TOKENS)
    is_token = tokens < num_tokens
    token_ptrs = x_ptr + tokens * x_stride
    sums = _multiply(row_ptrs, token_ptrs, is_token, start, end, BLOCK_INPUTS)

    is_last = True
    if NUM_SPLITS > 1:
        piece: tl.constexpr = BLOCK_TOKENS * BLOCK_ROWS
        pieces = partials_ptr + tile * NUM_SPLITS * piece
        _store_partial(pieces + split * piece, sums, is_token)
        tl.debug_barrier()  # all of this program's stores come before its arrival
        arrived = tl.atomic_add(counters_ptr + tile, 1, sem="acq_rel", scope="gpu")
        is_last = arrived == NUM_SPLITS - 1
    if is_last:
        NUM_OUTPUTS: tl.constexpr = BLOCK_ROWS // 2 if IS_GATED else BLOCK_ROWS
        outputs = tile * NUM_OUTPUTS + tl.arange(0, NUM_OUTPUTS)
        out_ptrs = out_ptr + tokens[None, :] * out_stride + outputs[:, None]
        if ADDS:
            before = tl.load(out_ptrs, mask=is_token[None, :], other=0.0)
        if NUM_SPLITS > 1:
            results = _add_partials(pieces, is_token, BLOCK_ROWS, NUM_SPLITS)
            tl.store(counters_ptr + tile, 0)
        else:
            results = sums
        if bias_ptr is not None:
            results += tl.load(bias_ptr + rows).to(tl.float32)[:, None]
        if IS_GATED:
            results = gate(results)
        if ADDS:
            results += before.to(tl.float32)
        tl.store(out_ptrs, results.to(out_ptr.dtype.element_ty), mask=is_token[None, :])


@triton.jit
def _multiply(row_ptrs, token_ptrs, is_token, start, end, BLOCK_INPUTS: tl.constexpr):
    """Sums [rows, tokens] over inputs from start to end."""
    NUM_TOKENS: tl.constexpr = token_ptrs.shape[0]
    inputs = tl.arange(0, BLOCK_INPUTS)
    weight_ptrs = row_ptrs[:, None] + start + inputs[None, :]
    x_ptrs = token_ptrs[:, None] + start + inputs[None, :]
    sums = tl.zeros([row_ptrs.shape[0], NUM_TOKENS], tl.float32)
    for _ in range(start, end, BLOCK_INPUTS):
        weight = tl.load(weight_ptrs)
        x = tl.load(x_ptrs, mask=is_token[:, None], other=0.0)
        sums = tl.dot(weight, tl.trans(x), sums)
        weight_ptrs += BLOCK_INPUTS
        x_ptrs += BLOCK_INPUTS
    return sums


@triton.jit
def _store_partial(piece, sums, is_token):
    """A program's sums, as [tokens, rows]."""
    NUM_ROWS: tl.constexpr = sums.shape[0]
    NUM_TOKENS: tl.constexpr = sums.shape[1]
    rows, tokens = tl.arange(0, NUM_ROWS), tl.arange(0, NUM_TOKENS)
    sum_ptrs = piece + tokens[None, :] * NUM_ROWS + rows[:, None]
    tl.store(sum_ptrs, sums, mask=is_token[None, :])


@triton.jit
def _add_partials(pieces, is_token, NUM_ROWS: tl.constexpr, NUM_SPLITS: tl.constexpr):
    """The sums of a tile's partials, which are in the L2 cache."""
    NUM_TOKENS: tl.constexpr = is_token.shape[0]
    rows, tokens = tl.arange(0, NUM_ROWS), tl.arange(0, NUM_TOKENS)
    sum_ptrs = pieces + tokens[None, :] * NUM_ROWS + rows[:, None]
    sums = tl.zeros([NUM_ROWS, NUM_TOKENS], tl.float32)
    for split in tl.range(NUM_SPLITS, loop_unroll_factor=2):
        offset = split * NUM_TOKENS * NUM_ROWS
        sums += tl.load(sum_ptrs + offset, is_token[None, :], other=0.0, cache_modifier=".cg")
    return sums
