"""Linear layers on a GPU: the twins of kernels/linear.py, and where it is decided who multiplies.

Few tokens are limited by how fast weights are read, which small_linear.py does. Everything else is
cuBLAS's: many tokens, types of four bytes, odd sizes.
"""

import torch
import torch.nn.functional as F

from legato.kernels.activation_kind import Activation
from legato.kernels.gpu.activation import gelu_tanh_and_mul, silu_and_mul
from legato.kernels.gpu.small_linear import Fused, small_linear
from legato.kernels.gpu.small_linear_config import SmallLinearConfig, choose
from legato.kernels.gpu.small_linear_table import TABLE

_TYPES = (torch.bfloat16, torch.float16)
_ALIGNMENT_BYTES = 16  # of the widest loads


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """[tokens, inputs] x [outputs, inputs] -> [tokens, outputs]"""
    config = _config(x, weight)
    if config is None:
        return F.linear(x, weight, bias)
    out = x.new_empty(x.shape[0], weight.shape[0])
    small_linear(x, weight, bias, out, config)
    return out


def linear_float32(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """[tokens, inputs] x [outputs, inputs] -> [tokens, outputs] float32, of inputs of any type."""
    config = _config(x, weight)
    if config is not None:
        out = x.new_empty(x.shape[0], weight.shape[0], dtype=torch.float32)
        small_linear(x, weight, None, out, config)
        return out
    if x.is_cuda and x.dtype in _TYPES:
        return torch.mm(x, weight.T, out_dtype=torch.float32)
    return F.linear(x.float(), weight.float())


def linear_add_(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor
) -> None:
    """Adds the product to `residual`, [tokens, outputs], in place."""
    config = _config(x, weight)
    if config is not None and residual.stride(1) == 1:
        small_linear(x, weight, bias, residual, config, Fused(adds=True))
    elif bias is None:
        residual.addmm_(x, weight.T)
    else:
        residual.add_(F.linear(x, weight, bias))


def gated_linear(
    x: torch.Tensor,
    gate_up: torch.Tensor,
    bias: torch.Tensor | None,
    activation: Activation = Activation.SILU,
) -> torch.Tensor:
    """[tokens, inputs] x [2 * dim, inputs], gates before ups -> act(gate) * up, [tokens, dim]"""
    if activation is Activation.GELU_TANH:  # which small_linear does not compute in one go
        return gelu_tanh_and_mul(linear(x, gate_up, bias))
    config = _config(x, gate_up)
    if config is None:
        return silu_and_mul(F.linear(x, gate_up, bias))
    out = x.new_empty(x.shape[0], gate_up.shape[0] // 2)
    small_linear(x, gate_up, bias, out, config, Fused(is_gated=True))
    return out


def _config(x: torch.Tensor, weight: torch.Tensor) -> SmallLinearConfig | None:
    """None where cuBLAS multiplies."""
    if x.dtype not in _TYPES or weight.dtype is not x.dtype or x.stride(1) != 1:
        return None
    if not weight.is_contiguous() or weight.data_ptr() % _ALIGNMENT_BYTES:
        return None
    return choose(x.shape[0], weight.shape[0], weight.shape[1], TABLE)
