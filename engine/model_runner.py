"""Runs scheduled batches: the model's weights, the KV pool and the sampler, on one device.

Knows no queue and frees no block. What it computes depends on the batch, the weights and the pool
alone.
"""

from dataclasses import dataclass

import torch

from legato.engine.batch import RunResult, ScheduledBatch
from legato.engine.config import EngineConfig
from legato.engine.forward_inputs import build_forward_inputs
from legato.engine.kv_layout import KVCacheSpec
from legato.engine.model_plan import choose_device, plan_model
from legato.engine.models.decoder import forward
from legato.engine.models.decoder_weights import DecoderWeights
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.weights import OnProgress, Placement, dummy_weights, load_weights
from legato.engine.sampler import sample
from legato.engine.torch_dtypes import TORCH_DTYPES


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model on its device."""

    config: ModelConfig
    weights: DecoderWeights
    device: torch.device
    max_model_len: int  # tokens, prompt and answer together


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
        device = torch.device(choose_device(config.model, torch.cuda.is_available()))
        plan = plan_model(config, device.type)
        placement = Placement(TORCH_DTYPES[plan.dtype], device)
        if config.model.load_format == "dummy":
            weights = dummy_weights(plan.config, placement, config.model.seed)
        else:
            report = on_progress or _ignore
            weights = load_weights(plan.directory, plan.config, placement, report)
        model = LoadedModel(plan.config, weights, device, plan.max_model_len)
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
