"""Runs scheduled batches: the model's weights, the KV pool and the sampler, on one device.

    launch:  batch -> StepState (inputs on the device) -> body -> tail -> PendingStep

Knows no queue and frees no block. What it computes depends on the batch, the weights and the pool
alone. A launch returns before the device has finished: the next batch may build on samples that
the host has not seen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from legato.engine.batch import ScheduledBatch
from legato.engine.config import EngineConfig
from legato.engine.kv_cache import allocate_pool
from legato.engine.kv_layout import KVCacheSpec
from legato.engine.load_progress import OnProgress, ignore_progress
from legato.engine.model_plan import ModelPlan, choose_device, plan_model
from legato.engine.models.description import log_choice
from legato.engine.models.loading import dummy_network, load_network
from legato.engine.models.network import Network
from legato.engine.models.served_config import ServedConfig
from legato.engine.models.weights import Placement
from legato.engine.pending_step import (
    PendingLogprobs,
    PendingPrompts,
    PendingStep,
    SampleCopies,
    to_host,
)
from legato.engine.prompt_pooler import PromptPooler
from legato.engine.prompt_scorer import PromptScorer
from legato.engine.step_graphs import StepGraphs
from legato.engine.step_halves import StepHalves
from legato.engine.step_state import StepLimits, StepState
from legato.engine.torch_dtypes import TORCH_DTYPES
from legato.kernels.backend import AttentionShape, kernels_for

# Steps under way at a time: a GPU has the next one waiting when it ends one, a CPU would gain
# nothing.
_PIPELINE_DEPTH = {"cpu": 1, "cuda": 2}


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model on its device."""

    config: ServedConfig
    network: Network
    device: torch.device
    max_model_len: int  # tokens, prompt and answer together


class ModelRunner:
    """Owns the weights; works on a pool that is attached once its size is known."""

    def __init__(self, model: LoadedModel, kv_spec: KVCacheSpec, limits: StepLimits) -> None:
        self.model = model
        self.kv_spec = kv_spec
        self.pipeline_depth = _PIPELINE_DEPTH[model.device.type]
        self._kernels = kernels_for(model.device)
        self._state = StepState(limits, self._kernels, model.device)
        shape = AttentionShape(
            num_heads=model.config.num_heads,
            num_kv_heads=model.config.num_kv_heads,
            head_dim=model.config.head_dim,
            max_num_seqs=limits.max_num_seqs,
            windows=model.config.windows,
            latent_dim=model.config.latent_dim,
        )
        self._halves = StepHalves(
            model.network, model.config.hidden_size, self._kernels, self._state, shape
        )
        self._graphs = StepGraphs(self._halves, limits)
        self._scorer = PromptScorer(self._halves, self._kernels, self._state)
        self._pooler = PromptPooler(self._halves, self._state)
        num_places = self.pipeline_depth + 1
        self._copies = SampleCopies(limits.max_num_seqs, num_places, model.device)
        self._kv_pool: torch.Tensor | None = None

    @classmethod
    def build(
        cls, config: EngineConfig, on_progress: OnProgress = ignore_progress
    ) -> "ModelRunner":
        """Loads the model that the configuration names.

        Args:
            on_progress: told how far it has come

        Raises:
            ConfigError: the model cannot be loaded or served as asked.
        """
        device = torch.device(choose_device(config.model, torch.cuda.is_available()))
        plan = plan_model(config, device.type)
        placement = Placement(TORCH_DTYPES[plan.dtype], device)
        if config.model.load_format == "dummy":
            network = dummy_network(plan.directory, plan.config, placement, config.model.seed)
        else:
            network = load_network(plan.directory, plan.config, placement, on_progress)
        log_choice(plan.config)
        model = LoadedModel(plan.config, network, device, plan.max_model_len)
        return cls(model, plan.kv_spec, _step_limits(plan, config.scheduler.max_num_seqs))

    @property
    def model_config(self) -> ServedConfig:
        return self.model.config

    @property
    def max_num_batched_tokens(self) -> int:
        """The largest step that it can run."""
        return self._state.limits.max_num_batched_tokens

    def attach_pool(self, kv_pool: torch.Tensor) -> None:
        """Gives the runner its KV blocks, shaped as `kv_spec.pool_shape` says."""
        assert kv_pool.shape == self.kv_spec.pool_shape(kv_pool.shape[0])
        assert kv_pool.is_contiguous()
        self._kv_pool = kv_pool

    def measure_step_bytes(self, on_progress: OnProgress = ignore_progress) -> int:
        """Memory of the device that steps need beside weights and pool, by running the largest.

        Everything that is compiled late is compiled here. A CPU's memory is not measured: 0.
        """
        device = self.model.device
        if device.type == "cpu":
            return 0
        num_bytes = self._measure(allocate_pool(self.kv_spec, 1, device), on_progress)
        torch.cuda.empty_cache()
        return num_bytes

    def _measure(self, kv_pool: torch.Tensor, on_progress: OnProgress) -> int:
        warm_ups = (self._graphs.warm_up_large, self._graphs.warm_up)
        with torch.inference_mode():
            # A sum, since graphs have memory of their own.
            return sum(
                _peak_bytes(kv_pool.device, partial(warm_up, kv_pool, on_progress))
                for warm_up in warm_ups
            )

    def capture(self, on_progress: OnProgress = ignore_progress) -> None:
        """Captures CUDA graphs of the usual steps; nothing on a CPU."""
        if self.model.device.type == "cuda":
            with torch.inference_mode():
                self._graphs.capture(self._pool(), on_progress)

    def launch(self, batch: ScheduledBatch) -> PendingStep:
        """Starts to compute the batch's tokens and to sample for the sequences that ask for it."""
        with torch.inference_mode():
            shape = self._state.fill(batch)
            prompts = None
            if batch.needs_hidden_rows:
                hidden = self._graphs.body_with_hidden(shape, self._pool())
                prompts = self._read_prompts(hidden, batch)
            else:
                self._graphs.body(shape, self._pool())
            self._state.sampling.fill_masks()  # while a GPU computes the body
            logprobs = self._tail(shape.num_samples) if shape.num_samples else None
            return self._collect(shape.num_samples, logprobs, prompts)

    def logits(self, batch: ScheduledBatch) -> torch.Tensor:
        """Computes the batch's tokens; [sampling sequences, vocab] float32, in batch order."""
        with torch.inference_mode():
            shape = self._state.fill(batch)
            self._graphs.body(shape, self._pool())
            logits = self._graphs.tail_with_logits(shape.num_samples)
            order = torch.from_numpy(self._state.sample_order).to(logits.device)
            return logits[order].to(torch.float32)

    def _read_prompts(self, hidden: torch.Tensor, batch: ScheduledBatch) -> PendingPrompts:
        scores = pools = None
        if any(seq.scored is not None for seq in batch.sequences):
            scores = self._scorer.score(hidden, batch)
        if any(seq.pooled is not None for seq in batch.sequences):
            pools = self._pooler.pool(hidden, batch)
        return PendingPrompts(scores, pools)

    def _tail(self, num_samples: int) -> PendingLogprobs | None:
        num_top = self._state.num_top_logprobs
        if num_top is None:
            self._graphs.tail(num_samples)
            return None
        logits = self._graphs.tail_with_logits(num_samples)
        sampled = self._state.sampled[:num_samples]
        most = max(number for number in num_top if number is not None)
        tensors = self._kernels.token_logprobs(logits, sampled, min(most, logits.shape[1]))
        return PendingLogprobs(tuple(map(to_host, tensors)), num_top)

    def _collect(
        self, num_samples: int, logprobs: PendingLogprobs | None, prompts: PendingPrompts | None
    ) -> PendingStep:
        """Has the samples copied to the host; a step without any is waited for as well."""
        token_ids, is_done = self._copies.start(self._state.sampled[:num_samples])
        return PendingStep(token_ids, self._state.sample_order, logprobs, is_done, prompts)

    def _pool(self) -> torch.Tensor:
        assert self._kv_pool is not None, "attach_pool comes first"
        return self._kv_pool


def _step_limits(plan: ModelPlan, max_num_seqs: int) -> StepLimits:
    # With more sequences than tokens in a step, some would wait in every step.
    return StepLimits(
        max_num_seqs=min(max_num_seqs, plan.max_num_batched_tokens),
        max_num_batched_tokens=plan.max_num_batched_tokens,
        max_blocks=plan.kv_spec.num_blocks_of(plan.max_model_len),
        vocab_size=plan.config.vocab_size,
        num_eos_tokens=len(plan.config.eos_token_ids),
    )


def _peak_bytes(device: torch.device, run: Callable[[], None]) -> int:
    """Memory that a call takes at most, beside what was taken before."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
