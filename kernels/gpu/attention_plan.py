"""What the layers of a step share on the GPU: positions, slots and the attention kernels' work.

Everything is computed on the device from an AttentionBatch, so that a captured graph plans anew
in every replay. Sizes alone are known to the host.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from legato.kernels.attention_params import AttentionParams
from legato.kernels.backend import AttentionShape, AttentionStep
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.decode_attention import decode_attention
from legato.kernels.gpu.decode_work import DecodeShape, DecodeWork, plan_decode
from legato.kernels.gpu.latent_decode import heads_of_decode_group
from legato.kernels.gpu.latent_shape import decode_config, heads_of_group, prefill_config
from legato.kernels.gpu.prefill_attention import choose_config, prefill_attention
from legato.kernels.gpu.prefill_work import PrefillConfig, PrefillWork, plan_prefill
from legato.kernels.gpu.step_rows import plan_rows


class AttentionWorkspace:
    """Memory that steps take turns in; what depends on the pool's type comes with the first."""

    def __init__(self, shape: AttentionShape, device: torch.device) -> None:
        self.shape = shape
        self._device = device
        self._decode: dict[torch.dtype, Mapping[int | None, DecodeWork]] = {}

    def decode_work(self, kv_dtype: torch.dtype) -> Mapping[int | None, DecodeWork]:
        """For each window of the model's layers."""
        if kv_dtype not in self._decode:
            self._decode[kv_dtype] = {
                window: self._allocate(kv_dtype, window) for window in self.shape.windows
            }
        return self._decode[kv_dtype]

    def prefill_tiling(self, num_tokens: int, kv_pool: torch.Tensor) -> tuple[int, PrefillConfig]:
        """The heads of a query that share a tile, and what tiles are cut for."""
        num_heads = self.shape.num_heads
        if self.shape.latent_dim is not None:
            group = heads_of_group(num_heads)
            return group, prefill_config(group, kv_pool.dtype)
        config = choose_config(num_tokens, num_heads, kv_pool)
        return num_heads // self.shape.num_kv_heads, config

    def _allocate(self, kv_dtype: torch.dtype, window: int | None) -> DecodeWork:
        shape = DecodeShape(
            max_sequences=self.shape.max_num_seqs,
            num_heads=self.shape.num_heads,
            num_kv_heads=self.shape.num_kv_heads,
            head_dim=self.shape.head_dim,
            kv_dtype=kv_dtype,
            device=self._device,
            window=window,
        )
        if self.shape.latent_dim is None:
            return DecodeWork.allocate(shape)
        latent_dim = self.shape.latent_dim
        group = heads_of_decode_group(shape.num_heads, latent_dim, kv_dtype, self._device)
        shape = replace(shape, num_kv_heads=shape.num_heads // group, head_dim=latent_dim)
        return DecodeWork.allocate(shape, decode_config(group, kv_dtype))


@dataclass(frozen=True, slots=True, eq=False)
class GpuAttentionPlan:
    """A planned step.

    Attributes:
        positions: [tokens] int32
        slots: [tokens] int64; -1: padding
        decode: for each window, the work of sequences with one query
        prefill: the work of sequences with more; None: there are none
    """

    batch: AttentionBatch
    positions: torch.Tensor
    slots: torch.Tensor
    decode: Mapping[int | None, DecodeWork]
    prefill: PrefillWork | None


def allocate_attention(shape: AttentionShape, device: torch.device) -> AttentionWorkspace:
    """Memory for the steps of one engine."""
    return AttentionWorkspace(shape, device)


def plan_attention(
    step: AttentionStep, kv_pool: torch.Tensor, workspace: AttentionWorkspace
) -> GpuAttentionPlan:
    """Launches what plans a step; no layer may run before it."""
    device = kv_pool.device
    positions = torch.empty(step.num_tokens, dtype=torch.int32, device=device)
    slots = torch.empty(step.num_tokens, dtype=torch.int64, device=device)
    plan_rows(step.batch, kv_pool.shape[4], positions, slots)
    decode = workspace.decode_work(kv_pool.dtype)
    for work in decode.values():
        plan_decode(step.batch, work)
    prefill = None
    if not step.is_decode:
        group_size, config = workspace.prefill_tiling(step.num_tokens, kv_pool)
        prefill = PrefillWork.allocate(
            step.batch.max_sequences, step.num_tokens, group_size, config, device
        )
        plan_prefill(step.batch, prefill)
    return GpuAttentionPlan(step.batch, positions, slots, decode, prefill)


def paged_attention(
    query: torch.Tensor,
    kv_pool: torch.Tensor,
    layer: int,
    plan: GpuAttentionPlan,
    params: AttentionParams,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of one layer, see the twin. Rows of padding are left as they are: undefined."""
    output = query.new_empty(query.shape[0], query.shape[1] * query.shape[2])
    if plan.prefill is not None:
        prefill_attention(query, kv_pool, layer, plan.batch, plan.prefill, params, output, sinks)
    work = plan.decode[params.window]
    decode_attention(query, kv_pool, layer, plan.batch, work, params, output, sinks)
    return output
