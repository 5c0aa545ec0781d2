"""The decoder as pure functions of weights, config and the step's inputs.

    embedding -> [ norm -> attention -> + -> norm -> MLP or experts -> + ] x layers -> norm -> head
                                     |             |
                                   (norm)        (norm)                   where the family has them

The only thing that changes is the KV pool. What a layer computes is added to the residual stream
by the product that ends it, so that addition and product are one kernel where the device has one.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from legato.engine.models.decoder_weights import DecoderWeights, LayerWeights, MoeMlp
from legato.engine.models.forward_context import ForwardContext
from legato.engine.models.latent_attention import attend_latent
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.moe import add_moe_
from legato.kernels.backend import Kernels


@dataclass(frozen=True, slots=True, eq=False)
class Decoder:
    """The decoder with weights; see Network."""

    weights: DecoderWeights
    config: ModelConfig
    is_capturable: bool = True

    @property
    def dtype(self) -> torch.dtype:
        return self.weights.embedding.dtype

    @property
    def device(self) -> torch.device:
        return self.weights.embedding.device

    def compute_hidden(
        self, token_ids: torch.Tensor, wanted_rows: torch.Tensor, context: ForwardContext
    ) -> torch.Tensor:
        """Computes the step's tokens and stores their keys and values."""
        return compute_hidden(self.weights, self.config, token_ids, wanted_rows, context)

    def normed(self, hidden: torch.Tensor, kernels: Kernels) -> torch.Tensor:
        """The same rows behind the last norm."""
        return kernels.rms_norm(hidden, self.weights.final_norm, self.config.rms_norm_eps)

    def logits(self, hidden: torch.Tensor, kernels: Kernels) -> torch.Tensor:
        """[rows, hidden] of the residual stream -> [rows, vocab], in the weights' type."""
        logits = kernels.linear(self.normed(hidden, kernels), self.weights.lm_head, None)
        softcap = self.config.logit_softcap
        return logits if softcap is None else logits.div_(softcap).tanh_().mul_(softcap)


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
    kernels, plan = context.kernels, context.plan
    residual = _embed(weights, config, token_ids)
    rotaries = [
        kernels.rotary_tables(plan.positions, frequencies, rope.attention_factor, residual.dtype)
        for frequencies, rope in zip(weights.inverse_frequencies, config.ropes, strict=True)
    ]
    slots = plan.slots
    for index, layer in enumerate(weights.layers):
        rotary = rotaries[config.layers[index].rope_index]
        attended = _attend(layer, config, residual, index, rotary, context)
        if layer is weights.layers[-1]:
            residual = residual.index_select(0, wanted_rows)
            attended = attended.index_select(0, wanted_rows)
            slots = None  # padding among them costs the experts of one layer at most
        if attended.shape[0] > 0:
            output = (layer.output, layer.output_bias, layer.output_norm)
            _add_product(kernels, attended, output, residual, config.rms_norm_eps)
            _add_mlp(kernels, layer, config, residual, slots)
    return residual


def _embed(weights: DecoderWeights, config: ModelConfig, token_ids: torch.Tensor) -> torch.Tensor:
    embedded = F.embedding(token_ids, weights.embedding)
    if config.family.has_scaled_embedding:
        # The factor in the weights' type, with as many digits as it had in training.
        embedded.mul_(torch.tensor(config.hidden_size**0.5, dtype=embedded.dtype))
    return embedded


def _attend(
    layer: LayerWeights,
    config: ModelConfig,
    residual: torch.Tensor,
    index: int,
    rotary: tuple[torch.Tensor, torch.Tensor],
    context: ForwardContext,
) -> torch.Tensor:
    """Attention of the layer `index`, before its output projection: [tokens, heads * head_dim]"""
    kernels, plan, kv_pool = context.kernels, context.plan, context.kv_pool
    params = config.layers[index].params
    normed = kernels.rms_norm(residual, layer.attention_norm, config.rms_norm_eps)
    qkv = kernels.linear(normed, layer.qkv, layer.qkv_bias)
    if layer.latent is not None:
        return attend_latent(layer.latent, config, qkv, index, rotary, context)
    qkv = qkv.view(residual.shape[0], -1, config.head_dim)
    kernels.rotate_and_write(qkv, rotary, layer.qk_norm, kv_pool, index, plan.slots, params)
    query = qkv[:, : config.num_heads]
    return kernels.paged_attention(query, kv_pool, index, plan, params, layer.sinks)


def _add_mlp(
    kernels: Kernels,
    layer: LayerWeights,
    config: ModelConfig,
    residual: torch.Tensor,
    slots: torch.Tensor | None,
) -> None:
    normed = kernels.rms_norm(residual, layer.mlp_norm, config.rms_norm_eps)
    mlp = layer.mlp
    if isinstance(mlp, MoeMlp):
        assert config.moe is not None
        add_moe_(kernels, mlp, config.moe, normed, slots, residual)
        return
    gated = kernels.gated_linear(normed, mlp.gate_up, mlp.gate_up_bias, config.activation)
    down = (mlp.down, mlp.down_bias, layer.down_norm)
    _add_product(kernels, gated, down, residual, config.rms_norm_eps)


def _add_product(
    kernels: Kernels,
    x: torch.Tensor,
    linear: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None],
    residual: torch.Tensor,
    eps: float,
) -> None:
    """Adds the product with a weight, its bias and its norm, if it has any, to `residual`."""
    weight, bias, norm = linear
    if norm is None:
        kernels.linear_add_(x, weight, bias, residual)
    else:
        kernels.add_normed_(kernels.linear(x, weight, bias), residual, norm, eps)
