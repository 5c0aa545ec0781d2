"""Root-mean-square layer norm, alone and fused with the residual addition before or behind it.

One program computes one row and holds all of it in registers: each value is read once. The weight
is the same in every step, so it is fetched while the kernel before this one still runs.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from legato.kernels.gpu.device import can_launch_early


@dataclass(frozen=True, slots=True)
class NormConfig:
    num_warps: int


def choose_config(num_rows: int, dim: int) -> NormConfig:
    """Few rows: as many lanes as there are 16-byte vectors. Many rows: two vectors for each."""
    values_per_lane = 8 if num_rows <= 512 else 16
    num_warps = triton.next_power_of_2(dim) // (32 * values_per_lane)
    return NormConfig(num_warps=min(max(num_warps, 1), 16))


def rms_norm(
    x: torch.Tensor, weight: torch.Tensor, eps: float, *, config: NormConfig | None = None
) -> torch.Tensor:
    """Scales rows to a root mean square of one, then by `weight`.

    Args:
        x: [rows, dim], values of a row adjacent
        weight: [dim]; may have more digits than `x`

    Returns:
        [rows, dim] contiguous, in the type of `x`
    """
    return _launch(x, None, weight, eps, config)


def add_rms_norm(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    eps: float,
    *,
    config: NormConfig | None = None,
) -> torch.Tensor:
    """Adds `x` to `residual` in place and returns the norm of the sum; both [rows, dim]."""
    return _launch(x, residual, weight, eps, config)


def add_normed_(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    eps: float,
    *,
    config: NormConfig | None = None,
) -> None:
    """Adds the norm of `x` to `residual` in place; both [rows, dim]."""
    num_rows, dim = x.shape
    assert x.stride(1) == residual.stride(1) == 1 and weight.is_contiguous()
    config = config or choose_config(num_rows, dim)
    is_early = can_launch_early(x.device)
    add_normed_kernel[(num_rows,)](
        x,
        residual,
        weight,
        eps,
        x.stride(0),
        residual.stride(0),
        DIM=dim,
        BLOCK=triton.next_power_of_2(dim),
        IS_EARLY=is_early,
        num_warps=config.num_warps,
        launch_pdl=is_early,
    )


def _launch(
    x: torch.Tensor,
    residual: torch.Tensor | None,
    weight: torch.Tensor,
    eps: float,
    config: NormConfig | None,
) -> torch.Tensor:
    num_rows, dim = x.shape
    assert x.stride(1) == 1 and weight.is_contiguous()
    assert residual is None or residual.stride(1) == 1
    config = config or choose_config(num_rows, dim)
    is_early = can_launch_early(x.device)
    output = torch.empty((num_rows, dim), dtype=x.dtype, device=x.device)
    rms_norm_kernel[(num_rows,)](
        x,
        residual,
        weight,
        output,
        eps,
        x.stride(0),
        0 if residual is None else residual.stride(0),
        DIM=dim,
        BLOCK=triton.next_power_of_2(dim),
        IS_EARLY=is_early,
        num_warps=config.num_warps,
        launch_pdl=is_early,
    )
    return output


@triton.jit
def rms_norm_kernel(
    x,
    residual,
    weight,
    output,
    eps,
    x_row_stride,
    residual_row_stride,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    is_column = columns < DIM
    weights = tl.load(weight + columns, is_column, other=0.0)
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    values = tl.load(x + row * x_row_stride + columns, is_column, other=0.0).to(tl.float32)
    if residual is not None:
        residual_row = residual + row * residual_row_stride + columns
        values += tl.load(residual_row, is_column, other=0.0).to(tl.float32)
        # What is normed is what later layers see: the sum as it is stored.
        stored = values.to(residual.dtype.element_ty)
        tl.store(residual_row, stored, is_column)
        values = stored.to(tl.float32)
    mean_square = tl.sum(values * values, axis=0) / DIM
    normed = values * tl.rsqrt(mean_square + eps) * weights.to(tl.float32)
    tl.store(output + row * DIM + columns, normed.to(output.dtype.element_ty), is_column)


@triton.jit
def add_normed_kernel(
    x,
    residual,
    weight,
    eps,
    x_row_stride,
    residual_row_stride,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    is_column = columns < DIM
    weights = tl.load(weight + columns, is_column, other=0.0).to(tl.float32)
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    values = tl.load(x + row * x_row_stride + columns, is_column, other=0.0).to(tl.float32)
    residual_row = residual + row * residual_row_stride + columns
    total = tl.load(residual_row, is_column, other=0.0).to(tl.float32)
    mean_square = tl.sum(values * values, axis=0) / DIM
    total += values * tl.rsqrt(mean_square + eps) * weights
    tl.store(residual_row, total.to(residual.dtype.element_ty), is_column)
