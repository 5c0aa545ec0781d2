"""The kernels of NVIDIA GPUs, as `legato.kernels.backend.Kernels` names them."""

from legato.kernels.gpu.attention_input import rotate_and_write
from legato.kernels.gpu.attention_plan import (
    allocate_attention,
    paged_attention,
    plan_attention,
)
from legato.kernels.gpu.block_push import digest_blocks, push_blocks
from legato.kernels.gpu.experts import add_chosen_experts_
from legato.kernels.gpu.latent_attention import latent_attention
from legato.kernels.gpu.latent_input import rotate_and_write_latent
from legato.kernels.gpu.linear import gated_linear, linear, linear_add_, linear_float32
from legato.kernels.gpu.logprobs import token_logprobs
from legato.kernels.gpu.norm import add_normed_, rms_norm
from legato.kernels.gpu.rotary import rotary_tables
from legato.kernels.gpu.sampling import sample
from legato.kernels.gpu.step_advance import advance_, take_sampled_
from legato.kernels.gpu.token_counts import count_tokens_
from legato.kernels.gpu.toolchain import choose_assembler
from legato.kernels.token_counts import set_counts_

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

choose_assembler()  # before anything is compiled
