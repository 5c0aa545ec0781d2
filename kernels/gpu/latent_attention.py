"""Latent attention of a planned step: one kernel for chunks of prompts, one for single queries."""

import torch

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_plan import GpuAttentionPlan
from legato.kernels.gpu.latent_decode import latent_decode
from legato.kernels.gpu.latent_prefill import latent_prefill


def latent_attention(
    query: torch.Tensor,
    kv_pool: torch.Tensor,
    layer: int,
    plan: GpuAttentionPlan,
    params: AttentionParams,
    value_dim: int,
) -> torch.Tensor:
    """Attention of one layer, see the twin. Rows of padding are left as they are: undefined."""
    assert params.window is None and params.softcap is None
    assert query.is_contiguous() and kv_pool.is_contiguous()
    output = query.new_empty(*query.shape[:2], value_dim)
    if plan.prefill is not None:
        latent_prefill(query, kv_pool, layer, plan.batch, plan.prefill, params, output)
    latent_decode(query, kv_pool, layer, plan.batch, plan.decode[None], params, output)
    return output
