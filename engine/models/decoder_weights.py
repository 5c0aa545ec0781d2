"""The decoder's weights as tensors on a device, layer by layer.

Which tensors of a checkpoint make them up is told by parameters.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from legato.engine.models.latent_weights import LatentWeights, assemble_latent
from legato.engine.models.model_config import ModelConfig
from legato.kernels.attention_input import QKNorm


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DenseMlp:
    """A gated MLP that all tokens use; matrices are [outputs, inputs]."""

    gate_up: torch.Tensor
    gate_up_bias: torch.Tensor | None
    down: torch.Tensor
    down_bias: torch.Tensor | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MoeMlp:
    """Gated MLPs of which each token uses some, and perhaps one that all tokens use."""

    router: torch.Tensor  # [experts, hidden]
    router_bias: torch.Tensor | None  # [experts] float32
    correction: torch.Tensor | None  # [experts] float32
    gate_up: torch.Tensor  # [experts, 2 * intermediate, hidden]
    gate_up_bias: torch.Tensor | None  # [experts, 2 * intermediate]
    down: torch.Tensor  # [experts, hidden, intermediate]
    down_bias: torch.Tensor | None  # [experts, hidden]
    shared: DenseMlp | None
    shared_gate: torch.Tensor | None  # [1, hidden]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LayerWeights:
    """One layer; matrices are [outputs, inputs]."""

    attention_norm: torch.Tensor  # [hidden]
    qkv: torch.Tensor
    qkv_bias: torch.Tensor | None
    qk_norm: QKNorm | None
    sinks: torch.Tensor | None  # [heads]
    latent: LatentWeights | None  # where what is stored is made into keys and values by each head
    output: torch.Tensor
    output_bias: torch.Tensor | None
    output_norm: torch.Tensor | None  # [hidden], of what attention adds
    mlp_norm: torch.Tensor  # [hidden]
    mlp: DenseMlp | MoeMlp
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
    parts = _parts(tensors, f"layers.{layer}.", LayerWeights)
    joined = parts.pop("qk_norm")
    qk_norm = None
    if joined is not None:
        query_weight, key_weight = joined.view(2, config.head_dim)
        qk_norm = QKNorm(query_weight, key_weight, config.rms_norm_eps)
    latent = None
    if config.latent is not None:
        latent = assemble_latent(tensors, f"layers.{layer}.", config.latent)
    mlp = _assemble_mlp(tensors, f"layers.{layer}.mlp.")
    return LayerWeights(**parts | {"qk_norm": qk_norm, "latent": latent, "mlp": mlp})


def _assemble_mlp(tensors: Mapping[str, torch.Tensor], prefix: str) -> DenseMlp | MoeMlp:
    if f"{prefix}router" not in tensors:
        return DenseMlp(**_parts(tensors, prefix, DenseMlp))
    shared = _parts(tensors, f"{prefix}shared.", DenseMlp)
    has_shared = shared["down"] is not None
    parts = _parts(tensors, prefix, MoeMlp)
    return MoeMlp(**parts | {"shared": DenseMlp(**shared) if has_shared else None})


def _parts(tensors: Mapping[str, torch.Tensor], prefix: str, owner: type[Any]) -> dict[str, Any]:
    """A tensor for each field of `owner`; None for those that there is none for."""
    return {field.name: tensors.get(prefix + field.name) for field in fields(owner)}
