"""The matrix product of linear layers, and what models do right after it."""

import torch
import torch.nn.functional as F

from legato.kernels.activation import silu_and_mul

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


def linear_add_(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor
) -> None:
    """Adds the product to `residual`, [tokens, outputs], in place."""
    residual.add_(linear(x, weight, bias))


def gated_linear(x: torch.Tensor, gate_up: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """[tokens, inputs] x [2 * dim, inputs], gates before ups -> silu(gate) * up, [tokens, dim]"""
    return silu_and_mul(linear(x, gate_up, bias))
