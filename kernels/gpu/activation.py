"""The gated activation of the feed-forward layer, computed in float32 and rounded once."""

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from legato.kernels.gpu.device import can_launch_early

# Both activations are gate * sigmoid(s), that is gate / (1 + 2 ** (-log2(e) * s)): silu with
# s = gate, gelu with s = 2 * sqrt(2 / pi) * (gate + 0.044715 * gate ** 3), as (1 + tanh(u)) / 2 is
# sigmoid(2 * u).
_SILU_FACTOR = tl.constexpr(-math.log2(math.e))
_GELU_FACTOR = tl.constexpr(-math.log2(math.e) * 2 * math.sqrt(2 / math.pi))
_GELU_CUBIC = tl.constexpr(0.044715)

# Up to so many values, more programs are worth more than several loads in flight in each.
_FEW_VALUES = 1 << 20


@dataclass(frozen=True, slots=True)
class ActivationConfig:
    """`block`: columns of one program."""

    block: int
    num_warps: int


def choose_config(num_tokens: int, dim: int) -> ActivationConfig:
    block = 1024 if num_tokens * dim <= _FEW_VALUES else 2048
    block = min(block, triton.next_power_of_2(dim))
    return ActivationConfig(block=block, num_warps=4 if block >= 512 else 1)


def silu_and_mul(gate_up: torch.Tensor, *, config: ActivationConfig | None = None) -> torch.Tensor:
    """[tokens, 2 * dim], gate before up -> silu(gate) * up, [tokens, dim]."""
    return _launch(gate_up, False, config)


def gelu_tanh_and_mul(
    gate_up: torch.Tensor, *, config: ActivationConfig | None = None
) -> torch.Tensor:
    """[tokens, 2 * dim], gate before up -> gelu(gate) * up, [tokens, dim]; gelu's tanh form."""
    return _launch(gate_up, True, config)


def _launch(gate_up: torch.Tensor, is_gelu: bool, config: ActivationConfig | None) -> torch.Tensor:
    num_tokens, dim = gate_up.shape[0], gate_up.shape[1] // 2
    assert gate_up.stride(1) == 1
    config = config or choose_config(num_tokens, dim)
    is_early = can_launch_early(gate_up.device)
    output = torch.empty((num_tokens, dim), dtype=gate_up.dtype, device=gate_up.device)
    gated_kernel[(num_tokens * triton.cdiv(dim, config.block),)](
        gate_up,
        output,
        gate_up.stride(0),
        DIM=dim,
        BLOCK=config.block,
        IS_GELU=is_gelu,
        IS_EARLY=is_early,
        num_warps=config.num_warps,
        launch_pdl=is_early,
    )
    return output


@triton.jit
def gated_kernel(
    gate_up,
    output,
    row_stride,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    IS_GELU: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    BLOCKS_PER_ROW: tl.constexpr = (DIM + BLOCK - 1) // BLOCK
    program = tl.program_id(0)
    row = (program // BLOCKS_PER_ROW).to(tl.int64)
    columns = (program % BLOCKS_PER_ROW) * BLOCK + tl.arange(0, BLOCK)
    is_column = columns < DIM
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    gate_row = gate_up + row * row_stride
    gate = tl.load(gate_row + columns, is_column, other=0.0).to(tl.float32)
    up = tl.load(gate_row + DIM + columns, is_column, other=0.0).to(tl.float32)
    if IS_GELU:
        exponent = (gate + gate * gate * gate * _GELU_CUBIC) * _GELU_FACTOR
    else:
        exponent = gate * _SILU_FACTOR
    gated = up * gate / (1 + tl.exp2(exponent))
    tl.store(output + row * DIM + columns, gated.to(output.dtype.element_ty), is_column)
