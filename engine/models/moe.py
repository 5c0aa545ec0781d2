"""A layer's mixture of experts, beside the expert that all tokens use where there is one.

x --router--> the token's experts and their weights
x --experts--> weighted sum --------------------------> + residual
x --shared expert--> (times sigmoid of its gate) -----> + residual
"""

import torch

from legato.engine.models.decoder_weights import MoeMlp
from legato.engine.models.moe_config import MoeConfig
from legato.kernels.activation_kind import Activation
from legato.kernels.backend import Kernels
from legato.kernels.expert_weights import ExpertWeights


def add_moe_(
    kernels: Kernels,
    mlp: MoeMlp,
    config: MoeConfig,
    x: torch.Tensor,
    slots: torch.Tensor | None,
    residual: torch.Tensor,
) -> None:
    """Adds the layer's result to `residual`, [tokens, hidden].

    Args:
        x: [tokens, hidden]
        slots: [tokens], negative for padding, for which no expert's weights are read; None: none
    """
    logits = kernels.linear_float32(x, mlp.router)
    if mlp.router_bias is not None:
        logits.add_(mlp.router_bias)
    experts = ExpertWeights(mlp.gate_up, mlp.down, mlp.gate_up_bias, mlp.down_bias, config.gate)
    kernels.add_chosen_experts_(x, logits, mlp.correction, slots, config.routing, experts, residual)
    if mlp.shared is not None:
        gated = kernels.gated_linear(x, mlp.shared.gate_up, None, Activation.SILU)
        if mlp.shared_gate is not None:
            gated.mul_(kernels.linear(x, mlp.shared_gate, None).sigmoid_())
        kernels.linear_add_(gated, mlp.shared.down, None, residual)
