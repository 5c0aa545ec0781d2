"""Root-mean-square layer norm, alone and fused with the residual addition before or behind it."""

import torch
import torch.nn.functional as F


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Scales rows to a root mean square of one, then by `weight`.

    Args:
        x: [..., dim]
        weight: [dim]; may have more digits than `x`, whose type the result has
    """
    if weight.dtype is not x.dtype:
        return F.rms_norm(x.to(weight.dtype), weight.shape, weight, eps).to(x.dtype)
    return F.rms_norm(x, weight.shape, weight, eps)


def add_rms_norm(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float
) -> torch.Tensor:
    """Adds `x` to `residual` in place and returns the norm of the sum; both [tokens, dim]."""
    return rms_norm(residual.add_(x), weight, eps)


def add_normed_(x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float) -> None:
    """Adds the norm of `x` to `residual` in place; both [tokens, dim]."""
    residual.add_(rms_norm(x, weight, eps))
