"""The decoder's weights as tensors on a device, layer by layer.

Which tensors of a checkpoint make them up is told by parameters.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from legato.engine.models.model_config import ModelConfig
from legato.kernels.attention_input import QKNorm


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LayerWeights:
    """One layer; matrices are [outputs, inputs]."""

    attention_norm: torch.Tensor  # [hidden]
    qkv: torch.Tensor
    qkv_bias: torch.Tensor | None
    qk_norm: QKNorm | None
    output: torch.Tensor
    output_bias: torch.Tensor | None
    output_norm: torch.Tensor | None  # [hidden], of what attention adds
    mlp_norm: torch.Tensor  # [hidden]
    gate_up: torch.Tensor
    gate_up_bias: torch.Tensor | None
    down: torch.Tensor
    down_bias: torch.Tensor | None
    down_norm: torch.Tensor | None  # [hidden], of what the MLP adds


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DecoderWeights:
    embedding: torch.Tensor  # [vocab, hidden]
    layers: tuple[LayerWeights, ...]
    final_norm: torch.Tensor  # [hidden]
    lm_head: torch.Tensor  # [vocab, hidden]; the embedding itself if tied
    # of each of the model's ropes, [rotary_dim / 2] float32
    inverse_frequencies: tuple[torch.Tensor, ...]


def assemble(
    tensors: Mapping[str, torch.Tensor],
    config: ModelConfig,
    inverse_frequencies: tuple[torch.Tensor, ...],
) -> DecoderWeights:
    """The decoder's weights from tensors by parameter name, shaped as `decoder_parameters` says."""
    return DecoderWeights(
        embedding=tensors["embedding"],
        layers=tuple(_assemble_layer(tensors, config, n) for n in range(config.num_layers)),
        final_norm=tensors["final_norm"],
        lm_head=tensors["embedding" if config.has_tied_embeddings else "lm_head"],
        inverse_frequencies=inverse_frequencies,
    )


def _assemble_layer(
    tensors: Mapping[str, torch.Tensor], config: ModelConfig, layer: int
) -> LayerWeights:
    prefix = f"layers.{layer}."
    parts = {name: tensors.get(prefix + name) for name in LayerWeights.__dataclass_fields__}
    joined = parts.pop("qk_norm")
    qk_norm = None
    if joined is not None:
        query_weight, key_weight = joined.view(2, config.head_dim)
        qk_norm = QKNorm(query_weight, key_weight, config.rms_norm_eps)
    return LayerWeights(**parts, qk_norm=qk_norm)  # type: ignore[arg-type]
