"""Layers of experts on a GPU: the twin of kernels/experts.py.

x -> gate_up of its experts, gated [pairs, dim] -> down [pairs, hidden] -> sums -> + residual
"""

import torch
import triton
import triton.language as tl

from legato.kernels.expert_weights import ExpertWeights
from legato.kernels.gpu.device import can_launch_early
from legato.kernels.gpu.expert_linear import expert_linear
from legato.kernels.gpu.expert_linear_gluon import (
    specialized_expert_linear,
    supports_specialized,
)
from legato.kernels.gpu.expert_routing import GpuExpertRoutes, route_tokens
from legato.kernels.gpu.token_experts import add_token_experts_, suits_tokens
from legato.kernels.routing_params import RoutingParams

_MAX_BLOCK = 1024  # columns of one program
_NUM_WARPS = 4


def add_chosen_experts_(
    x: torch.Tensor,
    logits: torch.Tensor,
    correction: torch.Tensor | None,
    slots: torch.Tensor | None,
    params: RoutingParams,
    experts: ExpertWeights,
    residual: torch.Tensor,
) -> None:
    """Routes tokens and adds what their experts compute to `residual`; see the twin."""
    if suits_tokens(len(x), params.top_k, len(experts.down)):
        add_token_experts_(x, logits, correction, slots, params, experts, residual)
    else:
        add_experts_(x, route_tokens(logits, correction, slots, params), experts, residual)


def add_experts_(
    x: torch.Tensor,
    routes: GpuExpertRoutes,
    experts: ExpertWeights,
    residual: torch.Tensor,
) -> None:
    """Adds what the tokens' experts compute, weighted, to `residual`; see the twin."""
    if len(x) == 0:
        return
    outputs = _compute(x, routes, experts)
    add_weighted_(outputs, routes, len(experts.down), residual)


def _compute(x: torch.Tensor, routes: GpuExpertRoutes, experts: ExpertWeights) -> torch.Tensor:
    """What each pair's expert makes of its token, [tokens * top_k, hidden]."""
    gate_up, down = experts.gate_up, experts.down
    biases = experts.gate_up_bias, experts.down_bias
    if supports_specialized(x, (gate_up, down), routes):
        gated = specialized_expert_linear(
            x, gate_up, routes, True, bias=biases[0], clamped=experts.gate
        )
        return specialized_expert_linear(gated, down, routes, False, bias=biases[1])
    top_k = routes.expert_ids.shape[1]
    gated = expert_linear(x, gate_up, routes, top_k, True, bias=biases[0], clamped=experts.gate)
    return expert_linear(gated, down, routes, 1, False, follows_product=True, bias=biases[1])


def add_weighted_(
    outputs: torch.Tensor, routes: GpuExpertRoutes, num_experts: int, residual: torch.Tensor
) -> None:
    """Adds each token's outputs, [tokens * top_k, hidden], times their weights to `residual`."""
    num_tokens, top_k = routes.expert_ids.shape
    dim = residual.shape[1]
    assert residual.stride(1) == 1
    block = min(triton.next_power_of_2(dim), _MAX_BLOCK)
    is_early = can_launch_early(residual.device)
    add_weighted_kernel[(num_tokens, triton.cdiv(dim, block))](
        outputs,
        routes.expert_ids,
        routes.weights,
        residual,
        residual.stride(0),
        DIM=dim,
        NUM_EXPERTS=num_experts,
        TOP_K=top_k,
        BLOCK=block,
        IS_EARLY=is_early,
        num_warps=_NUM_WARPS,
        launch_pdl=is_early,
    )


@triton.jit
def add_weighted_kernel(
    outputs_ptr,
    expert_ids_ptr,
    weights_ptr,
    residual_ptr,
    residual_stride,
    DIM: tl.constexpr,
    NUM_EXPERTS: tl.constexpr,
    TOP_K: tl.constexpr,
    BLOCK: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    """A token's results in the order of its choices: the sum is the same each time."""
    token = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_column = columns < DIM
    residual_ptrs = residual_ptr + token * residual_stride + columns
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    residual = tl.load(residual_ptrs, is_column, other=0.0)
    total = tl.zeros([BLOCK], tl.float32)
    for choice in tl.static_range(TOP_K):
        pair = token * TOP_K + choice
        is_real = tl.load(expert_ids_ptr + pair) < NUM_EXPERTS
        # Not a mask of the load, which would have to wait for it.
        output = tl.load(outputs_ptr + pair * DIM + columns, is_column, other=0.0)
        total += tl.where(is_real, output.to(tl.float32), 0.0) * tl.load(weights_ptr + pair)
    total += residual.to(tl.float32)
    tl.store(residual_ptrs, total.to(residual_ptr.dtype.element_ty), is_column)
