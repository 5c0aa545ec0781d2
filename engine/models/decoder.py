"""The dense decoder as pure functions of weights, config and the step's inputs.

    embedding -> [ norm -> attention -> + -> norm -> gated MLP -> + ] x layers -> norm -> head

The only thing that changes is the KV pool. `hidden` is what a layer adds to the residual stream;
each norm takes it in, so that addition and norm are one kernel.
"""

import torch
import torch.nn.functional as F

from legato.engine.forward_inputs import ForwardInputs
from legato.engine.models.decoder_weights import DecoderWeights, LayerWeights
from legato.engine.models.model_config import ModelConfig
from legato.kernels.activation import silu_and_mul
from legato.kernels.kv_write import write_kv
from legato.kernels.linear import linear
from legato.kernels.norm import add_rms_norm, rms_norm
from legato.kernels.paged_attention import paged_attention
from legato.kernels.rotary import apply_rotary_, rotary_tables


def forward(
    weights: DecoderWeights, config: ModelConfig, inputs: ForwardInputs, kv_pool: torch.Tensor
) -> torch.Tensor:
    """Computes the step's tokens and stores their keys and values.

    Returns:
        logits of the sampling rows, [sampling sequences, vocab] float32
    """
    residual = F.embedding(inputs.token_ids, weights.embedding)
    rotary = rotary_tables(
        inputs.plan.positions,
        weights.inverse_frequencies,
        config.rope.attention_factor,
        residual.dtype,
    )
    hidden = torch.zeros_like(residual)
    for index, layer in enumerate(weights.layers):
        normed = add_rms_norm(hidden, residual, layer.attention_norm, config.rms_norm_eps)
        qkv = _project_qkv(layer, config, normed, rotary)
        write_kv(qkv[:, config.num_heads :], kv_pool, index, inputs.plan)
        attended = paged_attention(qkv[:, : config.num_heads], kv_pool, index, inputs.plan)
        hidden = linear(attended, layer.output, layer.output_bias)
        normed = add_rms_norm(hidden, residual, layer.mlp_norm, config.rms_norm_eps)
        gated = silu_and_mul(linear(normed, layer.gate_up, layer.gate_up_bias))
        hidden = linear(gated, layer.down, layer.down_bias)

    rows = inputs.sampling_rows
    last = residual.index_select(0, rows).add_(hidden.index_select(0, rows))
    normed = rms_norm(last, weights.final_norm, config.rms_norm_eps)
    return linear(normed, weights.lm_head, None).to(torch.float32)


def _project_qkv(
    layer: LayerWeights,
    config: ModelConfig,
    normed: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """[tokens, heads + 2 * kv_heads, head_dim]: queries and keys rotated, then values."""
    qkv = linear(normed, layer.qkv, layer.qkv_bias)
    qkv = qkv.view(normed.shape[0], -1, config.head_dim)
    query_key = qkv[:, : config.num_heads + config.num_kv_heads]
    if layer.qk_norm is not None:
        query_key.copy_(rms_norm(query_key, layer.qk_norm, config.rms_norm_eps))
    apply_rotary_(query_key, *rotary)
    return qkv
