"""The kernels that an engine computes with, and the one place where a device decides which.

    Kernels (what a model and a sampler call)
      |- torch_kernels.py         plain torch, for CPUs
      `- gpu/triton_kernels.py    Triton, for NVIDIA GPUs; each with a plain-torch twin

Both are modules of functions. What a step's layers share - positions, work lists - is a plan that
each makes for itself, and that nobody else looks into.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

import torch

from legato.kernels.activation_kind import Activation
from legato.kernels.attention_input import QKNorm
from legato.kernels.attention_params import AttentionParams
from legato.kernels.attention_plan import BatchLayout
from legato.kernels.expert_weights import ExpertWeights
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.latent_input import LatentNorm
from legato.kernels.routing_params import RoutingParams
from legato.kernels.sampling_rows import SamplingRows


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """What attention is for: a model's heads, and the largest step.

    Attributes:
        windows: of the model's layers, as in AttentionParams, each once
        latent_dim: of latent attention, where a value is the beginning of its key; None: keys and
            values are stored apart
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_num_seqs: int
    windows: tuple[int | None, ...] = (None,)
    latent_dim: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AttentionStep:
    """One step as a plan is made from it.

    Attributes:
        batch: on the device
        layout: the same on the host, computed when it is called
        num_tokens: rows of the step, padding included
        is_decode: no sequence has more than one query
    """

    batch: AttentionBatch
    layout: Callable[[], BatchLayout]
    num_tokens: int
    is_decode: bool


class Kernels(Protocol):
    """Functions; shapes and meanings are told by the plain-torch ones, in kernels/*.py."""

    def rms_norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor: ...

    def add_normed_(
        self, x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float
    ) -> None: ...

    def linear(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor: ...

    def linear_float32(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor: ...

    def linear_add_(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        residual: torch.Tensor,
    ) -> None: ...

    def gated_linear(
        self,
        x: torch.Tensor,
        gate_up: torch.Tensor,
        bias: torch.Tensor | None,
        activation: Activation,
    ) -> torch.Tensor: ...

    def add_chosen_experts_(
        self,
        x: torch.Tensor,
        logits: torch.Tensor,
        correction: torch.Tensor | None,
        slots: torch.Tensor | None,
        params: RoutingParams,
        experts: ExpertWeights,
        residual: torch.Tensor,
    ) -> None: ...

    def rotary_tables(
        self,
        positions: torch.Tensor,
        inverse_frequencies: torch.Tensor,
        scale: float,
        dtype: torch.dtype,
    ) -> tuple[torch.Tensor, torch.Tensor]: ...

    def rotate_and_write(
        self,
        qkv: torch.Tensor,
        rotary: tuple[torch.Tensor, torch.Tensor],
        qk_norm: QKNorm | None,
        kv_pool: torch.Tensor,
        layer: int,
        slots: torch.Tensor,
        params: AttentionParams,
    ) -> None: ...

    def rotate_and_write_latent(
        self,
        turned: torch.Tensor,
        stored: torch.Tensor,
        query: torch.Tensor,
        rotary: tuple[torch.Tensor, torch.Tensor],
        norm: LatentNorm,
        kv_pool: torch.Tensor,
        layer: int,
        slots: torch.Tensor,
    ) -> None: ...

    def allocate_attention(self, shape: AttentionShape, device: torch.device) -> Any: ...

    def plan_attention(self, step: AttentionStep, kv_pool: torch.Tensor, workspace: Any) -> Any: ...

    def paged_attention(
        self,
        query: torch.Tensor,
        kv_pool: torch.Tensor,
        layer: int,
        plan: Any,
        params: AttentionParams,
        sinks: torch.Tensor | None = None,
    ) -> torch.Tensor: ...

    def latent_attention(
        self,
        query: torch.Tensor,
        kv_pool: torch.Tensor,
        layer: int,
        plan: Any,
        params: AttentionParams,
        value_dim: int,
    ) -> torch.Tensor: ...

    def sample(self, logits: torch.Tensor, rows: SamplingRows) -> torch.Tensor: ...

    def count_tokens_(self, token_ids: torch.Tensor, rows: SamplingRows) -> None: ...

    def set_counts_(
        self,
        token_counts: torch.Tensor,
        slot: int,
        prompt_token_ids: torch.Tensor,
        output_token_ids: torch.Tensor,
    ) -> None: ...

    def token_logprobs(
        self, logits: torch.Tensor, token_ids: torch.Tensor, num_top: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]: ...

    def take_sampled_(
        self, token_ids: torch.Tensor, sources: torch.Tensor, sampled: torch.Tensor
    ) -> None: ...

    def advance_(
        self, context_lens: torch.Tensor, positions: torch.Tensor, sources: torch.Tensor
    ) -> None: ...

    def push_blocks(
        self,
        source_pool: torch.Tensor,
        target_pool: Any,
        source_blocks: torch.Tensor,
        target_blocks: torch.Tensor,
    ) -> torch.Tensor: ...

    def digest_blocks(self, pool: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor: ...


def kernels_for(device: torch.device) -> Kernels:
    """The device's kernels."""
    name = "gpu.triton_kernels" if device.type == "cuda" else "torch_kernels"
    return cast(Kernels, import_module(f"legato.kernels.{name}"))
