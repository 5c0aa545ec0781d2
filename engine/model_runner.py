"""Runs scheduled batches: the model's weights, the KV pool and the sampler, on one device.

Knows no queue and frees no block. What it computes depends on the batch, the weights and the pool
alone.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from legato.engine.batch import RunResult, ScheduledBatch
from legato.engine.config import EngineConfig, ModelOptions
from legato.engine.errors import ConfigError
from legato.engine.forward_inputs import build_forward_inputs
from legato.engine.kv_cache import KVCacheSpec
from legato.engine.models.decoder import forward
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.parameters import DecoderWeights
from legato.engine.models.source import resolve_model_directory
from legato.engine.models.weights import OnProgress, Placement, dummy_weights, load_weights
from legato.engine.sampler import sample

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_DEFAULT_BLOCK_SIZE = {"cpu": 16, "cuda": 64}


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model on its device."""

    config: ModelConfig
    weights: DecoderWeights
    device: torch.device
    max_model_len: int  # tokens, prompt and answer together


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What will be loaded, and how; nothing of it is loaded yet."""

    directory: Path
    config: ModelConfig
    placement: Placement
    max_model_len: int  # tokens, prompt and answer together
    kv_spec: KVCacheSpec


def plan_model(config: EngineConfig) -> ModelPlan:
    """Resolves what the configuration leaves open, from the model's own files.

    Raises:
        ConfigError: the model cannot be served as asked.
    """
    options = config.model
    directory = resolve_model_directory(options.model)
    model_config = ModelConfig.load(directory)
    device = _device(options)
    block_size = config.cache.block_size or _DEFAULT_BLOCK_SIZE[device.type]
    placement = Placement(_dtype(options, model_config, device), device)
    spec = KVCacheSpec(
        num_layers=model_config.num_layers,
        num_kv_heads=model_config.num_kv_heads,
        head_dim=model_config.head_dim,
        block_size=block_size,
        dtype=placement.dtype,
    )
    max_model_len = _max_model_len(options, model_config)
    return ModelPlan(directory, model_config, placement, max_model_len, spec)


class ModelRunner:
    """Owns the weights; works on a pool that is attached once its size is known."""

    def __init__(self, model: LoadedModel, kv_spec: KVCacheSpec) -> None:
        self.model = model
        self.kv_spec = kv_spec
        self._kv_pool: torch.Tensor | None = None

    @classmethod
    def build(cls, config: EngineConfig, on_progress: OnProgress | None = None) -> "ModelRunner":
        """Loads the model that the configuration names.

        Args:
            on_progress: told (bytes done, bytes in all) after each tensor of the weights

        Raises:
            ConfigError: the model cannot be loaded or served as asked.
        """
        plan = plan_model(config)
        if config.model.load_format == "dummy":
            weights = dummy_weights(plan.config, plan.placement, config.model.seed)
        else:
            report = on_progress or _ignore
            weights = load_weights(plan.directory, plan.config, plan.placement, report)
        model = LoadedModel(plan.config, weights, plan.placement.device, plan.max_model_len)
        return cls(model, plan.kv_spec)

    @property
    def model_config(self) -> ModelConfig:
        return self.model.config

    def attach_pool(self, kv_pool: torch.Tensor) -> None:
        """Gives the runner its KV blocks, shaped as `kv_spec.pool_shape` says."""
        assert kv_pool.shape == self.kv_spec.pool_shape(kv_pool.shape[0])
        assert kv_pool.is_contiguous()
        self._kv_pool = kv_pool

    def run(self, batch: ScheduledBatch) -> RunResult:
        """Computes the batch's tokens and samples for the sequences that ask for it."""
        sampling = [s.sampling for s in batch.sequences if s.sampling is not None]
        with torch.inference_mode():
            logits = self.logits(batch)
            return RunResult(sample(logits, sampling) if sampling else ())

    def logits(self, batch: ScheduledBatch) -> torch.Tensor:
        """Computes the batch's tokens; [sampling sequences, vocab] float32, in batch order."""
        assert self._kv_pool is not None, "attach_pool comes before run"
        with torch.inference_mode():
            inputs = build_forward_inputs(batch, self._kv_pool)
            return forward(self.model.weights, self.model.config, inputs, self._kv_pool)


def _ignore(_done_bytes: int, _total_bytes: int) -> None:
    """Progress that nobody watches."""


def _device(options: ModelOptions) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if options.device == "cuda" and not has_gpu:
        raise ConfigError("--device cuda: no CUDA GPU is visible here")
    return torch.device("cuda" if has_gpu and options.device != "cpu" else "cpu")


def _dtype(options: ModelOptions, model_config: ModelConfig, device: torch.device) -> torch.dtype:
    if options.dtype == "auto":
        return model_config.dtype if device.type == "cuda" else torch.float32
    return _DTYPES[options.dtype]


def _max_model_len(options: ModelOptions, model_config: ModelConfig) -> int:
    longest = model_config.max_context_len
    if options.max_model_len is None:
        return longest
    if not 1 <= options.max_model_len <= longest:
        raise ConfigError(
            f"--max-model-len {options.max_model_len} is outside the model's 1 to {longest}"
        )
    return options.max_model_len
