"""Routing on a GPU, for one program and for several, against the twin."""

from itertools import pairwise

import pytest
import torch

from legato.kernels import experts as twin
from legato.kernels.gpu import expert_routing
from legato.kernels.gpu.expert_routing import GpuExpertRoutes, route_tokens
from legato.kernels.routing_params import GroupLimit, RoutingParams, Scoring
from legato.tests.kernels.gpu.device import DEVICE

RENORMALIZED = RoutingParams(top_k=2, renormalizes=True)
GROUPED = RoutingParams(
    top_k=3,
    scoring=Scoring.SIGMOID,
    renormalizes=True,
    weight_scale=2.5,
    groups=GroupLimit(num_groups=4, num_chosen=2, num_counted=2),
)
MAXIMA = RoutingParams(top_k=3, weight_scale=16.0, groups=GroupLimit(3, 1, num_counted=1))


@pytest.fixture(params=["one program", "several programs"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes chunks so small that the tests' few tokens need several."""
    if request.param == "several programs":
        monkeypatch.setattr(expert_routing, "_CHUNK_VALUES", 64)
        monkeypatch.setattr(expert_routing, "_WHOLE_VALUES", 64)
        monkeypatch.setattr(expert_routing, "_SCANNED_VALUES", 32)


def random_logits(num_tokens: int, num_experts: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(num_tokens)
    return torch.randn(num_tokens, num_experts, generator=generator).to(DEVICE)


def assert_lists_are_right(routes: GpuExpertRoutes, num_experts: int) -> None:
    """Pairs are sorted by expert and number, and tiles cover them."""
    expert_of_pair = routes.expert_ids.flatten().tolist()
    wanted = [
        pair
        for expert in range(num_experts)
        for pair, its_expert in enumerate(expert_of_pair)
        if its_expert == expert
    ]
    assert routes.pairs.tolist()[: len(wanted)] == wanted
    tiles = routes.tiles[: int(routes.num_tiles), :3].tolist()
    assert [start for _, start, _ in tiles] == [0, *(end for *_, end in tiles)][: len(tiles)]
    assert sum(end - start for _, start, end in tiles) == len(wanted)
    for expert, start, end in tiles:
        assert 0 < end - start <= routes.block_pairs
        assert {expert_of_pair[pair] for pair in wanted[start:end]} == {expert}
    for (expert, start, end), (next_expert, *_) in pairwise(tiles):
        assert expert < next_expert or end - start == routes.block_pairs


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("params", [RoutingParams(top_k=3), RENORMALIZED, GROUPED, MAXIMA], ids=str)
@pytest.mark.parametrize("num_tokens", [1, 7, 40])
def test_routes_are_those_of_the_twin(params: RoutingParams, num_tokens: int) -> None:
    logits = random_logits(num_tokens, 12)
    correction = torch.linspace(0, 1, 12, device=DEVICE) if params is GROUPED else None
    wanted = twin.route_tokens(logits, correction, None, params)
    routes = route_tokens(logits, correction, None, params)
    assert torch.equal(routes.expert_ids, wanted.expert_ids)
    torch.testing.assert_close(routes.weights, wanted.weights)
    assert_lists_are_right(routes, 12)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("block_pairs", [1, 4, 16])
def test_many_tokens_of_one_expert_make_several_tiles(block_pairs: int) -> None:
    logits = random_logits(30, 8)
    logits[:, 5] = 9
    routes = route_tokens(logits, None, None, RENORMALIZED, block_pairs=block_pairs)
    assert_lists_are_right(routes, 8)
    assert int(routes.num_tiles) <= len(routes.tiles)


@pytest.mark.usefixtures("chunks")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_padding_may_hold_anything_and_is_not_listed() -> None:
    logits, slots = random_logits(20, 6), torch.arange(20, device=DEVICE)
    wanted = twin.route_tokens(logits, None, None, RENORMALIZED)
    padding = [3, 11, 17, 18, 19]
    slots[padding] = -1
    logits[padding] = torch.tensor([torch.nan, torch.inf, -torch.inf, 3e38, 0.0, -3e38]).to(DEVICE)
    routes = route_tokens(logits, None, slots, RENORMALIZED)
    real = [token for token in range(20) if token not in padding]
    assert torch.equal(routes.expert_ids[real], wanted.expert_ids[real])
    assert (routes.expert_ids[padding] == 6).all()
    assert routes.weights.isfinite().all()
    assert_lists_are_right(routes, 6)


def test_of_equal_logits_the_first_experts_are_chosen() -> None:
    logits = torch.zeros(2, 5, device=DEVICE)
    assert route_tokens(logits, None, None, RENORMALIZED).expert_ids.tolist() == [[0, 1]] * 2


def test_corrected_scores_of_either_sign_keep_their_order() -> None:
    logits, correction = random_logits(9, 12), torch.linspace(-0.3, 0.1, 12, device=DEVICE)
    params = RoutingParams(top_k=9, scoring=Scoring.SOFTMAX)
    wanted = twin.route_tokens(logits, correction, None, params)
    routes = route_tokens(logits, correction, None, params)
    assert torch.equal(routes.expert_ids, wanted.expert_ids)


def test_no_tokens_are_no_error() -> None:
    assert len(route_tokens(random_logits(0, 6), None, None, RENORMALIZED).pairs) == 0
