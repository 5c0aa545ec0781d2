"""Rotary position embedding in the half-split form: dimension i turns with i + head_dim / 2."""

import torch


def rotary_tables(
    positions: torch.Tensor, inverse_frequencies: torch.Tensor, scale: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """The angles of a step's tokens, computed once and used by every layer.

    Args:
        positions: [tokens] integers
        inverse_frequencies: [head_dim / 2] float32, radians for each position
        scale: factor on both tables (YaRN's attention scaling)

    Returns:
        cosines and sines, each [tokens, 1, head_dim]. The first half of the sines is negated, so
        that a rotation is x * cos + swap_halves(x) * sin.
    """
    angles = positions.to(torch.float32)[:, None, None] * inverse_frequencies
    cos, sin = angles.cos() * scale, angles.sin() * scale
    cosines = torch.cat((cos, cos), dim=-1)
    sines = torch.cat((-sin, sin), dim=-1)
    return cosines.to(dtype), sines.to(dtype)


def apply_rotary_(heads: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> None:
    """Rotates `heads` [tokens, heads, head_dim] in place by the tables of `rotary_tables`."""
    swapped = heads.roll(heads.shape[-1] // 2, dims=-1)
    heads.mul_(cosines).addcmul_(swapped, sines)
