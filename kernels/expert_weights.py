"""The weights of a layer's experts, and how they are gated."""

from dataclasses import dataclass

import torch

from legato.kernels.activation_kind import ClampedGate


@dataclass(frozen=True, slots=True, eq=False)
class ExpertWeights:
    """Contiguous matrices, one for each expert.

    Attributes:
        gate_up: [experts, 2 * dim, hidden], gates before ups
        down: [experts, hidden, dim]
        gate_up_bias: [experts, 2 * dim]
        down_bias: [experts, hidden]
        gate: None: silu(gate) * up
    """

    gate_up: torch.Tensor
    down: torch.Tensor
    gate_up_bias: torch.Tensor | None = None
    down_bias: torch.Tensor | None = None
    gate: ClampedGate | None = None
