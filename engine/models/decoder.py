"""The dense decoder as pure functions of weights, config and the step's inputs.

    embedding -> [ norm -> attention -> + -> norm -> gated MLP -> + ] x layers -> norm -> head

The only thing that changes is the KV pool. What a layer computes is added to the residual stream
by the product that ends it, so that addition and product are one kernel where the device has one.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from legato.engine.models.decoder_weights import DecoderWeights, LayerWeights
from legato.engine.models.model_config import ModelConfig
from legato.kernels.attention_params import AttentionParams
from legato.kernels.backend import Kernels


@dataclass(frozen=True, slots=True, eq=False)
class ForwardContext:
    """All that a model reads beside its weights and the tokens.

    Attributes:
        plan: what `kernels.plan_attention` made of the step
        kv_pool: [block, layer, k/v, kv_head, token, head_dim]
    """

    kernels: Kernels
    plan: Any
    kv_pool: torch.Tensor


def compute_hidden(
    weights: DecoderWeights,
    config: ModelConfig,
    token_ids: torch.Tensor,
    wanted_rows: torch.Tensor,
    context: ForwardContext,
) -> torch.Tensor:
    """Computes the step's tokens and stores their keys and values.

    Args:
        token_ids: [tokens]
        wanted_rows: [rows] the tokens whose hidden states are asked for. Behind the last layer's
            attention nobody reads the others, and they are not computed.

    Returns:
        the residual stream behind the last layer, [rows, hidden]
    """
    kernels, plan, kv_pool = context.kernels, context.plan, context.kv_pool
    eps = config.rms_norm_eps
    params = AttentionParams(scale=config.head_dim**-0.5)
    residual = F.embedding(token_ids, weights.embedding)
    rotary = kernels.rotary_tables(
        plan.positions, weights.inverse_frequencies, config.rope.attention_factor, residual.dtype
    )
    for index, layer in enumerate(weights.layers):
        normed = kernels.rms_norm(residual, layer.attention_norm, eps)
        qkv = kernels.linear(normed, layer.qkv, layer.qkv_bias)
        qkv = qkv.view(residual.shape[0], -1, config.head_dim)
        qk_norm = layer.qk_norm
        kernels.rotate_and_write(qkv, rotary, qk_norm, kv_pool, index, plan.slots, params)
        query = qkv[:, : config.num_heads]
        attended = kernels.paged_attention(query, kv_pool, index, plan, params)
        if layer is weights.layers[-1]:
            residual = residual.index_select(0, wanted_rows)
            attended = attended.index_select(0, wanted_rows)
        if attended.shape[0] > 0:
            kernels.linear_add_(attended, layer.output, layer.output_bias, residual)
            _add_mlp(kernels, layer, residual, eps)
    return residual


def _add_mlp(kernels: Kernels, layer: LayerWeights, residual: torch.Tensor, eps: float) -> None:
    normed = kernels.rms_norm(residual, layer.mlp_norm, eps)
    gated = kernels.gated_linear(normed, layer.gate_up, layer.gate_up_bias)
    kernels.linear_add_(gated, layer.down, layer.down_bias, residual)


def compute_logits(
    weights: DecoderWeights, config: ModelConfig, hidden: torch.Tensor, kernels: Kernels
) -> torch.Tensor:
    """[rows, hidden] of the residual stream -> logits [rows, vocab], in the weights' type."""
    normed = kernels.rms_norm(hidden, weights.final_norm, config.rms_norm_eps)
    return kernels.linear(normed, weights.lm_head, None)
