import pytest
import torch
import torch.nn.functional as F

from legato.kernels.expert_weights import ExpertWeights
from legato.kernels.experts import ExpertRoutes, add_experts_, route_tokens
from legato.kernels.routing_params import GroupLimit, RoutingParams, Scoring

LOGITS = torch.tensor([[0.0, 3.0, 1.0, 2.0], [1.0, -1.0, 0.5, 0.0]])


def test_the_highest_logits_choose_and_the_softmax_of_all_weighs() -> None:
    routes = route_tokens(LOGITS, None, None, RoutingParams(top_k=2))
    assert routes.expert_ids.tolist() == [[1, 3], [0, 2]]
    wanted = LOGITS.softmax(dim=1).gather(1, routes.expert_ids.long())
    torch.testing.assert_close(routes.weights, wanted)


def test_renormalized_softmax_is_the_softmax_of_the_chosen() -> None:
    params = RoutingParams(top_k=2, renormalizes=True, weight_scale=2.5)
    routes = route_tokens(LOGITS, None, None, params)
    chosen = LOGITS.gather(1, routes.expert_ids.long())
    torch.testing.assert_close(routes.weights, chosen.softmax(dim=1) * 2.5)


def test_a_correction_changes_the_choice_and_not_the_weights() -> None:
    correction = torch.tensor([9.0, 0.0, 0.0, 0.0])
    params = RoutingParams(top_k=2, scoring=Scoring.SIGMOID)
    routes = route_tokens(LOGITS, correction, None, params)
    assert routes.expert_ids.tolist() == [[0, 1], [0, 2]]
    wanted = LOGITS.sigmoid().gather(1, routes.expert_ids.long())
    torch.testing.assert_close(routes.weights, wanted)


@pytest.mark.parametrize(("num_counted", "wanted"), [(1, [1, 0]), (2, [2, 3])])
def test_experts_come_from_the_best_groups(num_counted: int, wanted: list[int]) -> None:
    """The first group has the best expert, the second one the better two."""
    logits = torch.tensor([[0.0, 3.0, 2.9, 2.8]])
    params = RoutingParams(top_k=2, groups=GroupLimit(2, num_chosen=1, num_counted=num_counted))
    # As scores that are far from linear would not add up the same, sigmoids of small numbers.
    small = RoutingParams(top_k=2, scoring=Scoring.SIGMOID, groups=params.groups)
    assert route_tokens(logits / 10, None, None, small).expert_ids.tolist() == [wanted]


def test_padding_gets_no_experts_and_changes_nothing() -> None:
    x, residual = torch.randn(2, 6), torch.randn(2, 6)
    x[1] = torch.nan
    before = residual.clone()
    routes = route_tokens(LOGITS, None, torch.tensor([5, -1]), RoutingParams(top_k=2))
    assert routes.expert_ids.tolist() == [[1, 3], [4, 4]]
    add_experts_(x, routes, ExpertWeights(torch.randn(4, 10, 6), torch.randn(4, 6, 5)), residual)
    assert torch.equal(residual[1], before[1])
    assert not torch.isclose(residual[0], before[0]).any()


def test_each_token_gets_the_weighted_sum_of_its_experts() -> None:
    x, gate_up, down = torch.randn(3, 6), torch.randn(4, 10, 6), torch.randn(4, 6, 5)
    residual = torch.randn(3, 6)
    expert_ids = torch.tensor([[1, 3], [3, 0], [1, 0]], dtype=torch.int32)
    routes = ExpertRoutes(expert_ids, torch.rand(3, 2))
    wanted = residual.double()
    for token in range(3):
        for choice, expert in enumerate(expert_ids[token].tolist()):
            gate, up = (gate_up[expert].double() @ x[token].double()).chunk(2)
            output = down[expert].double() @ (F.silu(gate) * up)
            wanted[token] += routes.weights[token, choice] * output
    add_experts_(x, routes, ExpertWeights(gate_up, down), residual)
    torch.testing.assert_close(residual.double(), wanted, atol=1e-4, rtol=1e-4)


def test_no_tokens_are_no_error() -> None:
    routes = route_tokens(torch.empty(0, 4), None, None, RoutingParams(top_k=2))
    residual = torch.empty(0, 6)
    add_experts_(
        residual, routes, ExpertWeights(torch.randn(4, 10, 6), torch.randn(4, 6, 5)), residual
    )
