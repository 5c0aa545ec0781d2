"""The matrix product of linear layers, and what models do right after it."""

import torch
import torch.nn.functional as F

from legato.kernels.activation import gelu_tanh_and_mul, silu_and_mul
from legato.kernels.activation_kind import Activation

# Not public, but what torch's compiler emits; None in builds of torch without oneDNN.
_ONEDNN_LINEAR = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """[tokens, inputs] x [outputs, inputs] -> [tokens, outputs]

    For float32 on a CPU torch calls MKL, which on CPUs that are not Intel's takes twice as long as
    oneDNN. For bfloat16 torch calls oneDNN by itself.
    """
    if _ONEDNN_LINEAR is not None and x.dtype is torch.float32 and x.device.type == "cpu":
        product = _ONEDNN_LINEAR(x, weight, bias, "none", [], "")
        assert isinstance(product, torch.Tensor)
        return product
    return F.linear(x, weight, bias)


def linear_float32(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """[tokens, inputs] x [outputs, inputs] -> [tokens, outputs] float32, of inputs of any type."""
    return linear(x.float(), weight.float(), None)


def linear_add_(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor
) -> None:
    """Adds the product to `residual`, [tokens, outputs], in place."""
    residual.add_(linear(x, weight, bias))


def gated_linear(
    x: torch.Tensor,
    gate_up: torch.Tensor,
    bias: torch.Tensor | None,
    activation: Activation = Activation.SILU,
) -> torch.Tensor:
    """[tokens, inputs] x [2 * dim, inputs], gates before ups -> act(gate) * up, [tokens, dim]"""
    product = linear(x, gate_up, bias)
    return silu_and_mul(product) if activation is Activation.SILU else gelu_tanh_and_mul(product)
