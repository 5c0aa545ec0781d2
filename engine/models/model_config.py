"""What a model directory's config.json and generation_config.json say, in one frozen value.

Knows the field names of old and new files; knows no weights and no device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from legato.engine.dtypes import DTYPE_BYTES
from legato.engine.errors import ConfigError
from legato.engine.models.families import FAMILIES
from legato.engine.models.json_file import JsonFile
from legato.engine.models.rope_config import RopeParameters

_SAMPLING_DEFAULTS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One dense decoder: sizes, parts, and what generation needs to know."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    rope: RopeParameters
    has_tied_embeddings: bool
    has_qk_norm: bool
    has_qkv_bias: bool
    has_output_bias: bool
    has_mlp_bias: bool
    max_context_len: int  # positions, prompt and answer together
    dtype: str  # of the checkpoint, one of DTYPE_BYTES
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    sampling_defaults: Mapping[str, float]  # of generation_config.json, by SamplingParams' names

    @classmethod
    def load(cls, directory: Path) -> "ModelConfig":
        """Reads a directory in Hugging Face layout.

        Raises:
            ConfigError: a file is missing or broken, or asks for something that is not supported.
        """
        config = JsonFile.read(directory / "config.json")
        generation_path = directory / "generation_config.json"
        generation = (
            JsonFile.read(generation_path)
            if generation_path.exists()
            else JsonFile(generation_path, {})
        )
        architecture = _architecture(config)
        _refuse_unsupported(config)
        family = FAMILIES[architecture]
        attention_bias = config.get("attention_bias", bool, False)
        mlp_bias = config.get("mlp_bias", bool, False)
        num_heads = config.positive("num_attention_heads")
        rope = RopeParameters.read(config)
        bos = config.fields.get("bos_token_id")
        return cls(
            architecture=architecture,
            vocab_size=config.positive("vocab_size"),
            hidden_size=config.positive("hidden_size"),
            intermediate_size=config.positive("intermediate_size"),
            num_layers=config.positive("num_hidden_layers"),
            num_heads=num_heads,
            num_kv_heads=_num_kv_heads(config, num_heads),
            head_dim=_head_dim(config, num_heads),
            rms_norm_eps=config.get("rms_norm_eps", float, 1e-6),
            rope=rope,
            has_tied_embeddings=config.get("tie_word_embeddings", bool, False),
            has_qk_norm=family.has_qk_norm,
            has_qkv_bias=_either(family.has_qkv_bias, attention_bias),
            has_output_bias=_either(family.has_output_bias, attention_bias),
            has_mlp_bias=_either(family.has_mlp_bias, mlp_bias),
            max_context_len=rope.context_len(config.positive("max_position_embeddings")),
            dtype=_dtype(config),
            bos_token_id=bos if isinstance(bos, int) else None,
            eos_token_ids=_eos_token_ids(generation) or _eos_token_ids(config),
            sampling_defaults={
                name: generation.fields[name]
                for name in _SAMPLING_DEFAULTS
                if isinstance(generation.fields.get(name), int | float)
            },
        )


def _either(fixed: bool | None, configured: bool) -> bool:
    return configured if fixed is None else fixed


def _architecture(config: JsonFile) -> str:
    names = config.get("architectures", list, [])
    for name in names:
        if name in FAMILIES:
            return str(name)
    found = ", ".join(map(str, names)) or "none"
    raise ConfigError(
        f"{config.path}: architecture {found} is not supported; supported are {', '.join(FAMILIES)}"
    )


def _refuse_unsupported(config: JsonFile) -> None:
    """What would otherwise be computed silently wrong."""
    activation = config.get("hidden_act", str, "silu")
    if activation != "silu":
        raise ConfigError(f"{config.path}: hidden_act {activation} is not supported (silu is)")
    if config.fields.get("quantization_config") is not None:
        raise ConfigError(f"{config.path}: quantized checkpoints are not supported")
    window = config.fields.get("sliding_window")
    is_windowed = config.get("use_sliding_window", bool, True)
    if is_windowed and window is not None and window < config.positive("max_position_embeddings"):
        raise ConfigError(f"{config.path}: sliding_window {window} is not supported")


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


def _dtype(config: JsonFile) -> str:
    name = config.get("dtype", str, config.get("torch_dtype", str, "float32"))
    if name not in DTYPE_BYTES:
        raise ConfigError(
            f"{config.path}: dtype {name} is not supported ({', '.join(DTYPE_BYTES)} are)"
        )
    return name


def _eos_token_ids(config: JsonFile) -> tuple[int, ...]:
    ids = config.fields.get("eos_token_id")
    listed = ids if isinstance(ids, list) else [] if ids is None else [ids]
    if not all(isinstance(token_id, int) for token_id in listed):
        raise ConfigError(f"{config.path}: eos_token_id is neither a number nor a list: {ids!r}")
    return tuple(listed)
