"""Layers of experts for so few tokens that hardly any expert has two: each token by itself.

    logits --choose--+                      +--choose-- logits
                     v                      v
    x ------> gate and up of a choice -> down of all choices, weighted -> + residual

There are no lists of who goes where, and no kernels that make them: every program chooses the
token's experts for itself. Vectors times matrices need no tensor cores; what is waited for is
memory, so as many loads as registers hold are under way at once. The second kernel has its first
weights before the first kernel has ended: the logits are older than both.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from legato.kernels.expert_weights import ExpertWeights
from legato.kernels.gpu.device import can_launch_early
from legato.kernels.gpu.expert_choice import (
    choose,
    choose_one,
    limit_to_groups,
    score_experts,
    weigh,
)
from legato.kernels.gpu.weight_tile import clamped_gate_of, gate_of
from legato.kernels.routing_params import RoutingParams, Scoring

# More pairs than this share of all experts read too many experts twice.
_PAIRS_PER_EXPERT = 1 / 8


@dataclass(frozen=True, slots=True)
class TokenConfig:
    """How the two kernels are cut: for tuning, without influence on what they mean.

    Attributes:
        gate_rows: gates of one program, and as many ups
        gate_inputs, down_inputs: that are multiplied at once; powers of two
        down_rows: outputs of one program, of all of a token's experts
    """

    gate_rows: int = 4
    gate_inputs: int = 256
    gate_warps: int = 2
    down_rows: int = 4
    down_inputs: int = 128
    down_warps: int = 4


@dataclass(frozen=True, slots=True)
class TokenRouting:
    """What of a router kernels are compiled for; as in RoutingParams."""

    num_experts: int
    top_k: int
    is_sigmoid: bool
    renormalizes: bool
    num_groups: int
    num_chosen_groups: int
    num_counted: int

    @classmethod
    def of(cls, params: RoutingParams, num_experts: int) -> "TokenRouting":
        groups = params.groups
        return cls(
            num_experts=num_experts,
            top_k=params.top_k,
            is_sigmoid=params.scoring is Scoring.SIGMOID,
            renormalizes=params.renormalizes,
            num_groups=groups.num_groups if groups else 1,
            num_chosen_groups=groups.num_chosen if groups else 1,
            num_counted=groups.num_counted if groups else 1,
        )

    @property
    def block_experts(self) -> int:
        return int(triton.next_power_of_2(self.num_experts))

    @property
    def block_groups(self) -> int:
        return int(triton.next_power_of_2(self.num_groups))

    @property
    def block_choices(self) -> int:
        return int(triton.next_power_of_2(self.top_k))


def suits_tokens(num_tokens: int, top_k: int, num_experts: int) -> bool:
    """Whether this is quicker than to sort tokens by their experts."""
    return num_tokens * top_k <= num_experts * _PAIRS_PER_EXPERT


def add_token_experts_(
    x: torch.Tensor,
    logits: torch.Tensor,
    correction: torch.Tensor | None,
    slots: torch.Tensor | None,
    params: RoutingParams,
    experts: ExpertWeights,
    residual: torch.Tensor,
    *,
    config: TokenConfig | None = None,
) -> None:
    """As `add_chosen_experts_`, see the twin."""
    config = config or TokenConfig()
    num_tokens, hidden = x.shape
    num_experts, dim, top_k = len(experts.down), experts.down.shape[2], params.top_k
    assert logits.is_contiguous() and x.stride(1) == 1 and residual.stride(1) == 1
    assert experts.gate_up.is_contiguous() and experts.down.is_contiguous()
    is_early = can_launch_early(x.device)
    routing = TokenRouting.of(params, num_experts)
    gated = x.new_empty(num_tokens, top_k, dim)
    token_gate_up_kernel[(triton.cdiv(dim, config.gate_rows), top_k, num_tokens)](
        x,
        experts.gate_up,
        experts.gate_up_bias,
        gated,
        logits,
        correction,
        slots,
        x.stride(0),
        DIM=dim,
        NUM_INPUTS=hidden,
        LIMIT=experts.gate.limit if experts.gate else None,
        SLOPE=experts.gate.slope if experts.gate else 1.0,
        ROUTING=routing,
        ROWS=config.gate_rows,
        INPUTS=config.gate_inputs,
        NUM_WARPS=config.gate_warps,
        IS_EARLY=is_early,
        num_warps=config.gate_warps,
        launch_pdl=is_early,
    )
    token_down_kernel[(triton.cdiv(hidden, config.down_rows), num_tokens)](
        gated,
        experts.down,
        experts.down_bias,
        residual,
        logits,
        correction,
        slots,
        residual.stride(0),
        params.weight_scale,
        HIDDEN=hidden,
        NUM_INPUTS=dim,
        ROUTING=routing,
        ROWS=config.down_rows,
        INPUTS=config.down_inputs,
        IS_EARLY=is_early,
        num_warps=config.down_warps,
        launch_pdl=is_early,
    )


@triton.jit
def _rank(logits_ptr, correction_ptr, token, NUM_ROWS: tl.constexpr, ROUTING: tl.constexpr):
    """The token's scores and what its experts are chosen by, each [rows, experts], all rows equal.

    A row lies in a warp, and warps do not wait for each other.
    """
    NUM_EXPERTS: tl.constexpr = ROUTING.num_experts
    expert = tl.arange(0, ROUTING.block_experts)
    is_expert = (expert < NUM_EXPERTS)[None, :]
    places = token * NUM_EXPERTS + expert[None, :] + tl.zeros([NUM_ROWS, 1], tl.int32)
    # Past the L1 cache, which is only certain to forget older logits when a kernel waits.
    logits = tl.load(logits_ptr + places, is_expert, other=0.0, cache_modifier=".cg")
    scores = score_experts(logits.to(tl.float32), is_expert, ROUTING.is_sigmoid)
    ranked = scores
    if correction_ptr is not None:
        ranked += tl.load(correction_ptr + expert, expert < NUM_EXPERTS, other=0.0)[None, :]
    ranked = tl.where(is_expert, ranked, float("-inf"))
    if ROUTING.num_groups > 1:
        ranked = limit_to_groups(
            ranked,
            NUM_EXPERTS,
            ROUTING.num_groups,
            ROUTING.num_chosen_groups,
            ROUTING.num_counted,
            ROUTING.block_groups,
        )
    return scores, ranked


@triton.jit
def _choose(logits_ptr, correction_ptr, slots_ptr, token, ROUTING: tl.constexpr):
    """The token's experts and their weights but for the scale, [choices].

    The number of experts where there is none. Each row of a matrix chooses all of them for itself
    and keeps one.
    """
    CHOICES: tl.constexpr = ROUTING.block_choices
    scores, ranked = _rank(logits_ptr, correction_ptr, token, CHOICES, ROUTING)
    choice, expert = tl.arange(0, CHOICES), tl.arange(0, ROUTING.block_experts)
    choices = choose(ranked, ROUTING.top_k)
    weights = weigh(scores, choices, ROUTING.renormalizes, 1.0)
    is_mine = choices == choice[:, None]
    experts = tl.sum(tl.where(is_mine, expert[None, :], 0), axis=1)
    is_real = choice < ROUTING.top_k
    if slots_ptr is not None:
        is_real = is_real & (tl.load(slots_ptr + token) >= 0)
    experts = tl.where(is_real, experts, ROUTING.num_experts)
    return experts, tl.sum(tl.where(is_mine, weights, 0.0), axis=1)


@triton.jit
def token_gate_up_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    logits_ptr,
    correction_ptr,
    slots_ptr,
    x_stride,
    DIM: tl.constexpr,
    NUM_INPUTS: tl.constexpr,
    LIMIT: tl.constexpr,
    SLOPE: tl.constexpr,
    ROUTING: tl.constexpr,
    ROWS: tl.constexpr,
    INPUTS: tl.constexpr,
    NUM_WARPS: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    """Some gated values of one choice of a token."""
    choice, token = tl.program_id(1), tl.program_id(2).to(tl.int64)
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    slot = 0 if slots_ptr is None else tl.load(slots_ptr + token)
    _, ranked = _rank(logits_ptr, correction_ptr, token, NUM_WARPS, ROUTING)
    expert = tl.max(choose_one(ranked, choice), axis=0)
    expert = tl.where(slot < 0, ROUTING.num_experts, expert).to(tl.int64)
    if expert == ROUTING.num_experts:
        return
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    # What is behind the last row is computed from it and not stored.
    gate_rows = expert * (2 * DIM) + tl.minimum(rows, DIM - 1)
    gate_ptrs = weight_ptr + gate_rows * NUM_INPUTS
    gates = tl.zeros([ROWS, INPUTS], tl.float32)
    ups = tl.zeros([ROWS, INPUTS], tl.float32)
    for first in tl.static_range(0, NUM_INPUTS, INPUTS):
        inputs = first + tl.arange(0, INPUTS)
        is_input = inputs < NUM_INPUTS
        x = tl.load(x_ptr + token * x_stride + inputs, is_input, other=0.0).to(tl.float32)
        weights = gate_ptrs[:, None] + inputs[None, :]
        gates += _load_weights(weights, is_input[None, :]) * x[None, :]
        ups += _load_weights(weights + DIM * NUM_INPUTS, is_input[None, :]) * x[None, :]
    gate_sums, up_sums = tl.sum(gates, axis=1), tl.sum(ups, axis=1)
    if bias_ptr is not None:
        gate_sums += tl.load(bias_ptr + gate_rows).to(tl.float32)
        up_sums += tl.load(bias_ptr + gate_rows + DIM).to(tl.float32)
    if LIMIT is None:
        gated = gate_of(gate_sums, up_sums)
    else:
        gated = clamped_gate_of(gate_sums, up_sums, LIMIT, SLOPE)
    outputs = out_ptr + (token * ROUTING.top_k + choice) * DIM + rows
    tl.store(outputs, gated.to(out_ptr.dtype.element_ty), rows < DIM)


@triton.jit(do_not_specialize=["weight_scale"])
def token_down_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    residual_ptr,
    logits_ptr,
    correction_ptr,
    slots_ptr,
    residual_stride,
    weight_scale,
    HIDDEN: tl.constexpr,
    NUM_INPUTS: tl.constexpr,
    ROUTING: tl.constexpr,
    ROWS: tl.constexpr,
    INPUTS: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    """Some sums over all choices of a token."""
    CHOICES: tl.constexpr = ROUTING.block_choices
    token = tl.program_id(1).to(tl.int64)
    experts, weights = _choose(logits_ptr, correction_ptr, slots_ptr, token, ROUTING)
    is_choice = experts < ROUTING.num_experts
    weights = tl.where(is_choice, weights * weight_scale, 0.0)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    expert_rows = experts.to(tl.int64)[:, None] * HIDDEN + tl.minimum(rows, HIDDEN - 1)[None, :]
    weight_ptrs = (weight_ptr + expert_rows * NUM_INPUTS)[:, :, None]
    is_weight = is_choice[:, None, None]
    choice = tl.arange(0, CHOICES)
    x_ptrs = x_ptr + (token * ROUTING.top_k + choice) * NUM_INPUTS
    # Three blocks ahead; and none of this is what the kernel before computes.
    inputs = tl.arange(0, INPUTS)
    first_block = _load_block(weight_ptrs, is_weight, 0 * INPUTS + inputs, NUM_INPUTS)
    second_block = _load_block(weight_ptrs, is_weight, 1 * INPUTS + inputs, NUM_INPUTS)
    third_block = _load_block(weight_ptrs, is_weight, 2 * INPUTS + inputs, NUM_INPUTS)
    residual_ptrs = residual_ptr + token * residual_stride + rows
    residual = tl.load(residual_ptrs, rows < HIDDEN, other=0.0, cache_modifier=".cg")
    if IS_EARLY:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()
    sums = tl.zeros([CHOICES, ROWS, INPUTS], tl.float32)
    for first in tl.static_range(0, NUM_INPUTS, INPUTS):
        block, first_block, second_block = first_block, second_block, third_block
        if first + 3 * INPUTS < NUM_INPUTS:
            next_inputs = first + 3 * INPUTS + inputs
            third_block = _load_block(weight_ptrs, is_weight, next_inputs, NUM_INPUTS)
        is_x = is_choice[:, None] & (first + inputs < NUM_INPUTS)[None, :]
        x = tl.load(x_ptrs[:, None] + (first + inputs)[None, :], is_x, other=0.0).to(tl.float32)
        sums += block.to(tl.float32) * (x * weights[:, None])[:, None, :]
    result = tl.sum(tl.sum(sums, axis=2), axis=0)
    if bias_ptr is not None:
        bias = tl.load(bias_ptr + expert_rows, is_choice[:, None], other=0.0).to(tl.float32)
        result += tl.sum(bias * weights[:, None], axis=0)
    result += residual.to(tl.float32)
    tl.store(residual_ptrs, result.to(residual_ptr.dtype.element_ty), rows < HIDDEN)


@triton.jit
def _load_weights(pointers, mask):
    return tl.load(pointers, mask, other=0.0).to(tl.float32)


@triton.jit
def _load_block(row_ptrs, mask, inputs, NUM_INPUTS: tl.constexpr):
    """[choices, rows, inputs] of pointers to rows."""
    is_input = (inputs < NUM_INPUTS)[None, None, :]
    return tl.load(row_ptrs + inputs[None, None, :], mask & is_input, other=0.0)
