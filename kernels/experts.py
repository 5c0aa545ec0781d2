"""Layers of which each token uses some parts: its experts, chosen by a router.

    logits [tokens, experts] --route_tokens--> routes: top_k experts of each token, and weights
    x -> for each of the token's experts: gated product -> product -> times weight -> + residual
         where there are biases, both products have one

A pair is a token and one of its experts: pair n is choice n % top_k of token n // top_k. Pairs are
computed expert by expert; a token's results are added up in the order of its choices.
"""

from dataclasses import dataclass

import torch

from legato.kernels.activation import clamp_and_mul, silu_and_mul
from legato.kernels.expert_weights import ExpertWeights
from legato.kernels.linear import linear
from legato.kernels.routing_params import GroupLimit, RoutingParams, Scoring

# Sigmoids may all be zero in float32; their sum divides.
_SMALLEST_SUM = 1e-20


@dataclass(frozen=True, slots=True, eq=False)
class ExpertRoutes:
    """Where tokens go.

    Attributes:
        expert_ids: [tokens, top_k] int32; the number of experts for rows of padding
        weights: [tokens, top_k] float32
    """

    expert_ids: torch.Tensor
    weights: torch.Tensor


def route_tokens(
    logits: torch.Tensor,
    correction: torch.Tensor | None,
    slots: torch.Tensor | None,
    params: RoutingParams,
) -> ExpertRoutes:
    """Chooses the experts of each token, the best first.

    Args:
        logits: [tokens, experts]
        correction: [experts] float32, added to scores for the choice alone
        slots: [tokens]; rows with negative ones are padding and get no experts; None: no padding
    """
    logits = logits.float()
    is_softmax = params.scoring is Scoring.SOFTMAX
    scores = logits.softmax(dim=1) if is_softmax else logits.sigmoid()
    ranked = scores if correction is None else scores + correction
    if params.groups is not None:
        ranked = _limit_to_groups(ranked, params.groups)
    expert_ids = ranked.topk(params.top_k, dim=1).indices
    weights = scores.gather(1, expert_ids)
    if params.renormalizes:
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=_SMALLEST_SUM)
    if slots is not None:
        expert_ids = expert_ids.masked_fill(slots[:, None] < 0, logits.shape[1])
    return ExpertRoutes(expert_ids.int(), weights * params.weight_scale)


def _limit_to_groups(ranked: torch.Tensor, groups: GroupLimit) -> torch.Tensor:
    """The same with nothing left of the groups that are not chosen."""
    grouped = ranked.view(ranked.shape[0], groups.num_groups, -1)
    group_scores = grouped.topk(groups.num_counted, dim=2).values.sum(dim=2)
    chosen = group_scores.topk(groups.num_chosen, dim=1).indices
    is_left_out = torch.ones_like(group_scores, dtype=torch.bool).scatter_(1, chosen, False)
    return grouped.masked_fill(is_left_out[:, :, None], float("-inf")).view_as(ranked)


def add_experts_(
    x: torch.Tensor,
    routes: ExpertRoutes,
    experts: ExpertWeights,
    residual: torch.Tensor,
) -> None:
    """Adds what the tokens' experts compute, weighted, to `residual` in place.

    Args:
        x: [tokens, hidden]
        residual: [tokens, hidden]
    """
    num_tokens, top_k = routes.expert_ids.shape
    num_experts = len(experts.down)
    expert_of_pair = routes.expert_ids.flatten().long()
    pairs = expert_of_pair.argsort(stable=True)
    counts = torch.bincount(expert_of_pair, minlength=num_experts + 1).tolist()
    outputs = x.new_zeros(num_tokens * top_k, x.shape[1])
    for expert, its_pairs in enumerate(pairs.split(counts)[:num_experts]):
        if len(its_pairs):
            outputs[its_pairs] = _compute(experts, expert, x[its_pairs // top_k])
    weighted = outputs.view(num_tokens, top_k, x.shape[1]) * routes.weights[:, :, None]
    residual.add_(weighted.sum(dim=1))


def add_chosen_experts_(
    x: torch.Tensor,
    logits: torch.Tensor,
    correction: torch.Tensor | None,
    slots: torch.Tensor | None,
    params: RoutingParams,
    experts: ExpertWeights,
    residual: torch.Tensor,
) -> None:
    """Routes tokens and adds what their experts compute to `residual`, [tokens, hidden], in place.

    Args: as of `route_tokens` and `add_experts_`
    """
    add_experts_(x, route_tokens(logits, correction, slots, params), experts, residual)


def _compute(experts: ExpertWeights, expert: int, x: torch.Tensor) -> torch.Tensor:
    """What one expert makes of its tokens, [tokens, hidden]."""
    gate_up_bias, down_bias = experts.gate_up_bias, experts.down_bias
    product = linear(
        x, experts.gate_up[expert], None if gate_up_bias is None else gate_up_bias[expert]
    )
    gate = experts.gate
    gated = silu_and_mul(product) if gate is None else clamp_and_mul(product, gate)
    return linear(gated, experts.down[expert], None if down_bias is None else down_bias[expert])
