"""What a model directory's config.json and generation_config.json say, in one frozen value.

Knows the field names of old and new files; knows no weights and no device.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from legato.engine.errors import ConfigError
from legato.engine.models.common_fields import (
    checkpoint_dtype,
    eos_token_ids,
    read_generation,
    sampling_defaults,
)
from legato.engine.models.families import FAMILIES, DecoderFamily, find_family
from legato.engine.models.json_file import JsonFile
from legato.engine.models.latent_config import LatentConfig, read_latent
from legato.engine.models.layer_attention import LayerAttention, read_layers
from legato.engine.models.moe_config import MoeConfig, read_moe
from legato.engine.models.quantization import ScaleBlock, read_scale_block
from legato.engine.models.rope_config import RopeParameters, read_ropes
from legato.kernels.activation_kind import Activation


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One decoder: sizes, parts, and what generation needs to know."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int  # of what the KV cache holds
    rms_norm_eps: float
    family: DecoderFamily
    activation: Activation
    latent: LatentConfig | None  # None: keys and values are stored as they are
    moe: MoeConfig | None  # None: all layers are dense
    layers: tuple[LayerAttention, ...]
    num_draft_layers: int  # behind the others in the checkpoint; not served
    ropes: tuple[RopeParameters, ...]  # as `read_ropes` orders them
    logit_softcap: float | None  # logits become softcap * tanh(logits / softcap)
    has_head: bool  # or it is a model's layers alone, whose logits mean nothing
    has_tied_embeddings: bool
    has_qk_norm: bool
    has_qkv_bias: bool
    has_output_bias: bool
    has_mlp_bias: bool
    max_context_len: int  # positions, prompt and answer together
    dtype: str  # of the checkpoint, one of DTYPE_BYTES
    scale_block: ScaleBlock | None  # matrices may be stored in 8 bits, with a scale for each
    eos_token_ids: tuple[int, ...]
    sampling_defaults: Mapping[str, float]  # of generation_config.json, by SamplingParams' names

    @classmethod
    def load(cls, directory: Path) -> "ModelConfig":
        """Reads a directory in Hugging Face layout.

        Raises:
            ConfigError: a file is missing or broken, or asks for something that is not supported.
        """
        config = JsonFile.read(directory / "config.json")
        generation = read_generation(directory)
        architecture, has_head = _architecture(config)
        family = FAMILIES[architecture]
        config = config.with_defaults(family.defaults)
        of_experts = family.moe.quantizations if family.moe else ()
        attention_bias = config.get("qkv_bias", bool, config.get("attention_bias", bool, False))
        mlp_bias = config.get("mlp_bias", bool, False)
        num_heads = config.positive("num_attention_heads")
        latent = read_latent(config) if family.has_latent_attention else None
        head_dim = _head_dim(config, num_heads) if latent is None else latent.stored_dim
        rotated_dim = head_dim if latent is None else latent.rope_dim
        ropes = read_ropes(config, rotated_dim, family.has_local_rope)
        max_context_len = _max_context_len(config, ropes)
        activation = _activation(config)
        key_dim = head_dim if latent is None else latent.key_dim
        layers = read_layers(config, family, key_dim, max_context_len)
        if latent is not None:
            layers = tuple(layer.scaled(ropes[0].score_factor) for layer in layers)
        return cls(
            architecture=architecture,
            vocab_size=config.positive("vocab_size"),
            hidden_size=config.positive("hidden_size"),
            intermediate_size=config.positive("intermediate_size"),
            num_heads=num_heads,
            num_kv_heads=_num_kv_heads(config, num_heads) if latent is None else 1,
            head_dim=head_dim,
            rms_norm_eps=config.get("rms_norm_eps", float, 1e-6),
            family=family,
            activation=activation,
            latent=latent,
            moe=read_moe(config, family.moe, activation),
            layers=layers,
            num_draft_layers=config.get("num_nextn_predict_layers", int, 0),
            ropes=ropes,
            logit_softcap=config.get("final_logit_softcapping", float, 0.0) or None,
            has_head=has_head,
            has_tied_embeddings=config.get("tie_word_embeddings", bool, False) or not has_head,
            has_qk_norm=_either(family.has_qk_norm, config.get("use_qk_norm", bool, False)),
            has_qkv_bias=_either(family.has_qkv_bias, attention_bias),
            has_output_bias=_either(family.has_output_bias, attention_bias),
            has_mlp_bias=_either(family.has_mlp_bias, mlp_bias),
            max_context_len=max_context_len,
            dtype=checkpoint_dtype(config),
            scale_block=read_scale_block(config, of_experts),
            eos_token_ids=eos_token_ids(generation, config),
            sampling_defaults=sampling_defaults(generation),
        )

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def latent_dim(self) -> int | None:
        """Of what is stored, what values are the weighted mean of; None: values are stored."""
        return None if self.latent is None else self.latent.latent_dim

    @property
    def rotated_dim(self) -> int:
        """Of a head, the dimensions that ropes are about."""
        return self.head_dim if self.latent is None else self.latent.rope_dim

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The windows that layers have, each once."""
        return tuple(dict.fromkeys(layer.params.window for layer in self.layers))

    def for_length(self, max_model_len: int) -> "ModelConfig":
        """The model as an engine serves it whose sequences have at most so many tokens."""
        return replace(self, ropes=tuple(rope.for_length(max_model_len) for rope in self.ropes))


def _either(fixed: bool | None, configured: bool) -> bool:
    return configured if fixed is None else fixed


def _architecture(config: JsonFile) -> tuple[str, bool]:
    """Which of FAMILIES, and whether it has a head."""
    names = config.get("architectures", list, [])
    family = find_family(names)
    if family is None:
        found = ", ".join(map(str, names)) or "none"
        raise ConfigError(
            f"{config.path}: architecture {found} is not supported; supported are"
            f" {', '.join(FAMILIES)}"
        )
    return family


def _activation(config: JsonFile) -> Activation:
    name = config.get("hidden_activation", str, config.get("hidden_act", str, "silu"))
    served = [activation.value for activation in Activation]
    if name not in served:
        raise ConfigError(
            f"{config.path}: hidden_act {name} is not supported ({' and '.join(served)} are)"
        )
    return Activation(name)


def _max_context_len(config: JsonFile, ropes: tuple[RopeParameters, ...]) -> int:
    max_position_embeddings = config.positive("max_position_embeddings")
    if len(ropes) > 1:
        return max_position_embeddings  # these families count the stretching in
    return ropes[0].context_len(max_position_embeddings)


def _num_kv_heads(config: JsonFile, num_heads: int) -> int:
    num_kv_heads = config.positive("num_key_value_heads", num_heads)
    if num_heads % num_kv_heads:
        raise ConfigError(
            f"{config.path}: num_attention_heads {num_heads} is no multiple of"
            f" num_key_value_heads {num_kv_heads}"
        )
    return num_kv_heads


def _head_dim(config: JsonFile, num_heads: int) -> int:
    head_dim = config.positive("head_dim", max(1, config.positive("hidden_size") // num_heads))
    if head_dim % 2:
        raise ConfigError(f"{config.path}: head_dim {head_dim} is odd")
    return head_dim
