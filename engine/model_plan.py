"""How a model will be served: what the configuration leaves open, from the model's own files.

Nothing of the model is loaded, and whether there is a GPU is told by the caller.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from legato.engine.config import EngineConfig, ModelOptions
from legato.engine.errors import ConfigError
from legato.engine.kv_layout import KVCacheSpec
from legato.engine.models.description import describe_model
from legato.engine.models.general_config import GeneralConfig
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.served_config import ServedConfig
from legato.engine.models.source import resolve_model_directory

DeviceType = Literal["cpu", "cuda"]

_DEFAULT_BLOCK_SIZE = {"cpu": 16, "cuda": 64}
_DEFAULT_TOKEN_BUDGET = {"cpu": 1024, "cuda": 8192}


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What will be loaded, and how."""

    directory: Path
    config: ModelConfig | GeneralConfig
    dtype: str  # of weights and KV cache, one of DTYPE_BYTES
    max_model_len: int  # tokens, prompt and answer together
    max_num_batched_tokens: int  # of one step
    kv_spec: KVCacheSpec


def choose_device(options: ModelOptions, has_gpu: bool) -> DeviceType:
    """Where the model is to run.

    Raises:
        ConfigError: a GPU is asked for, and there is none.
    """
    if options.device == "cuda" and not has_gpu:
        raise ConfigError("--device cuda: no CUDA GPU is visible here")
    return "cuda" if has_gpu and options.device != "cpu" else "cpu"


def plan_model(config: EngineConfig, device_type: str) -> ModelPlan:
    """Resolves what the configuration leaves open, on a device of this type.

    Raises:
        ConfigError: the model cannot be served as asked.
    """
    if config.parallel.tensor_parallel_size != 1:
        raise ConfigError(
            "--tensor-parallel-size above 1 is not supported yet: one GPU holds a whole model"
        )
    options = config.model
    directory = resolve_model_directory(options.model)
    model_config = describe_model(directory, options.trust_remote_code)
    dtype = _dtype(options, model_config, device_type)
    spec = KVCacheSpec(
        num_layers=model_config.num_layers,
        num_kv_heads=model_config.num_kv_heads,
        head_dim=model_config.head_dim,
        block_size=config.cache.block_size or _DEFAULT_BLOCK_SIZE[device_type],
        dtype=dtype,
        has_values=model_config.latent_dim is None,
    )
    max_model_len = _max_model_len(options, model_config)
    return ModelPlan(
        directory=directory,
        config=model_config.for_length(max_model_len),
        dtype=dtype,
        max_model_len=max_model_len,
        max_num_batched_tokens=config.scheduler.max_num_batched_tokens
        or _DEFAULT_TOKEN_BUDGET[device_type],
        kv_spec=spec,
    )


def _dtype(options: ModelOptions, model_config: ServedConfig, device_type: str) -> str:
    if options.dtype == "auto":
        return model_config.dtype if device_type == "cuda" else "float32"
    return options.dtype


def _max_model_len(options: ModelOptions, model_config: ServedConfig) -> int:
    longest = model_config.max_context_len
    if options.max_model_len is None:
        return longest
    if not 1 <= options.max_model_len <= longest:
        raise ConfigError(
            f"--max-model-len {options.max_model_len} is outside the model's 1 to {longest}"
        )
    return options.max_model_len
