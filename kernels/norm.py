"""Root-mean-square layer norm, alone and fused with the residual addition before it."""

import torch
import torch.nn.functional as F


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Scales rows to a root mean square of one, then by `weight`.

    Args:
        x: [..., dim]
        weight: [dim]
    """
    return F.rms_norm(x, weight.shape, weight, eps)


def add_rms_norm(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float
) -> torch.Tensor:
    """Adds `x` to `residual` in place and returns the norm of the sum; both [tokens, dim]."""
    return rms_norm(residual.add_(x), weight, eps)
