"""The kernels of CPUs, as `legato.kernels.backend.Kernels` names them: the plain-torch twins."""

import torch

from legato.kernels.attention_input import rotate_and_write
from legato.kernels.attention_plan import AttentionPlan, build_attention_plan
from legato.kernels.backend import AttentionShape, AttentionStep
from legato.kernels.block_push import digest_blocks, push_blocks
from legato.kernels.experts import add_chosen_experts_
from legato.kernels.latent_attention import latent_attention
from legato.kernels.latent_input import rotate_and_write_latent
from legato.kernels.linear import gated_linear, linear, linear_add_, linear_float32
from legato.kernels.logprobs import token_logprobs
from legato.kernels.norm import add_normed_, rms_norm
from legato.kernels.paged_attention import paged_attention
from legato.kernels.rotary import rotary_tables
from legato.kernels.sampling import sample
from legato.kernels.step_advance import advance_, take_sampled_
from legato.kernels.token_counts import count_tokens_, set_counts_

__all__ = [
    "add_chosen_experts_",
    "add_normed_",
    "advance_",
    "allocate_attention",
    "count_tokens_",
    "digest_blocks",
    "gated_linear",
    "latent_attention",
    "linear",
    "linear_add_",
    "linear_float32",
    "paged_attention",
    "plan_attention",
    "push_blocks",
    "rms_norm",
    "rotary_tables",
    "rotate_and_write",
    "rotate_and_write_latent",
    "sample",
    "set_counts_",
    "take_sampled_",
    "token_logprobs",
]


def allocate_attention(shape: AttentionShape, device: torch.device) -> AttentionShape:
    """Plain torch needs no memory that outlives a step."""
    return shape


def plan_attention(
    step: AttentionStep, kv_pool: torch.Tensor, workspace: AttentionShape
) -> AttentionPlan:
    """Plans a step from what the host knows of it."""
    return build_attention_plan(step.layout(), kv_pool, workspace.windows)
