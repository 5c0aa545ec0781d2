"""Rotary position embedding: the frequencies that its parameters stand for."""

import math

import torch

from legato.engine.models.rope_config import RopeParameters


def inverse_frequencies(rope: RopeParameters, head_dim: int) -> torch.Tensor:
    """Radians for each position, [rotary_dim / 2] float32."""
    rotary_dim = rope.rotary_dim(head_dim)
    exponents = torch.arange(0, rotary_dim, 2, dtype=torch.float32) / rotary_dim
    if rope.type == "longrope":
        factors = torch.tensor(rope.long_factors if rope.is_long else rope.short_factors)
        return 1.0 / (factors * rope.theta**exponents)
    plain = 1.0 / rope.theta**exponents
    if rope.type == "linear":
        return plain / rope.factor
    if rope.type == "llama3":
        return _llama3_frequencies(plain, rope)
    if rope.type == "yarn":
        return _yarn_frequencies(plain, rope, rotary_dim)
    return plain


def _llama3_frequencies(plain: torch.Tensor, rope: RopeParameters) -> torch.Tensor:
    """Slow dimensions are stretched by `factor`, fast ones kept, those between blended."""
    turns = rope.original_max_position * plain / (2 * math.pi)
    share = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    keep = share.clamp(0, 1)
    return plain * keep + plain / rope.factor * (1 - keep)


def _yarn_frequencies(plain: torch.Tensor, rope: RopeParameters, rotary_dim: int) -> torch.Tensor:
    """As llama3, but blended linearly in the dimension's index."""

    def dimension_of(turns: float) -> float:
        wavelength = rope.original_max_position / (turns * 2 * math.pi)
        return rotary_dim * math.log(wavelength) / (2 * math.log(rope.theta))

    low, high = dimension_of(rope.beta_fast), dimension_of(rope.beta_slow)
    if rope.truncates:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotary_dim - 1)
    ramp = (torch.arange(rotary_dim // 2, dtype=torch.float32) - low) / max(high - low, 0.001)
    keep = 1 - ramp.clamp(0, 1)
    return plain * keep + plain / rope.factor * (1 - keep)
