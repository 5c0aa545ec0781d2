"""The gated activation of the feed-forward layer."""

import torch
import torch.nn.functional as F

from legato.kernels.activation_kind import ClampedGate


def silu_and_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """[tokens, 2 * dim], gate before up -> silu(gate) * up, [tokens, dim]."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate).mul_(up)


def gelu_tanh_and_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """[tokens, 2 * dim], gate before up -> gelu(gate) * up, [tokens, dim]; gelu's tanh form."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.gelu(gate, approximate="tanh").mul_(up)


def clamp_and_mul(gate_up: torch.Tensor, clamped: ClampedGate) -> torch.Tensor:
    """[tokens, 2 * dim], gate before up -> [tokens, dim], as `clamped` says."""
    gate, up = gate_up.chunk(2, dim=-1)
    gate, up = gate.clamp(max=clamped.limit), up.clamp(-clamped.limit, clamped.limit)
    return (up + 1).mul_(gate).mul_((gate * clamped.slope).sigmoid_())
