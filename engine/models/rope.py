"""Rotary position embedding: the frequencies that its parameters stand for."""

import math

import torch

from legato.engine.models.rope_config import RopeParameters


def inverse_frequencies(rope: RopeParameters, head_dim: int) -> torch.Tensor:
    """Radians for each position, [head_dim / 2] float32."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    plain = 1.0 / rope.theta**exponents
    if rope.type == "linear":
        return plain / rope.factor
    if rope.type == "llama3":
        return _llama3_frequencies(plain, rope)
    if rope.type == "yarn":
        return _yarn_frequencies(plain, rope, head_dim)
    return plain


def _llama3_frequencies(plain: torch.Tensor, rope: RopeParameters) -> torch.Tensor:
    """Slow dimensions are stretched by `factor`, fast ones kept, those between blended."""
    turns = rope.original_max_position * plain / (2 * math.pi)
    share = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    keep = share.clamp(0, 1)
    return plain * keep + plain / rope.factor * (1 - keep)


def _yarn_frequencies(plain: torch.Tensor, rope: RopeParameters, head_dim: int) -> torch.Tensor:
    """As llama3, but blended linearly in the dimension's index."""

    def dimension_of(turns: float) -> float:
        wavelength = rope.original_max_position / (turns * 2 * math.pi)
        return head_dim * math.log(wavelength) / (2 * math.log(rope.theta))

    low = max(math.floor(dimension_of(rope.beta_fast)), 0)
    high = min(math.ceil(dimension_of(rope.beta_slow)), head_dim - 1)
    ramp = (torch.arange(head_dim // 2, dtype=torch.float32) - low) / max(high - low, 0.001)
    keep = 1 - ramp.clamp(0, 1)
    return plain * keep + plain / rope.factor * (1 - keep)
