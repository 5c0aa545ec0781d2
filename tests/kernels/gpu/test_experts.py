"""Layers of experts on a GPU against double precision: few tokens, many, odd sizes."""

import pytest
import torch

from legato.kernels import experts as twin
from legato.kernels.activation_kind import ClampedGate
from legato.kernels.expert_weights import ExpertWeights
from legato.kernels.gpu.expert_linear_gluon import supports_specialized
from legato.kernels.gpu.expert_routing import GpuExpertRoutes, route_tokens
from legato.kernels.gpu.experts import add_experts_
from legato.kernels.routing_params import RoutingParams
from legato.tests.kernels.gpu.device import DEVICE, DTYPES, HAS_GPU, TOLERANCES

PARAMS = RoutingParams(top_k=2, renormalizes=True)


class Layer:
    """Random weights of six experts, of which tokens like some better than others."""

    def __init__(self, hidden: int, dim: int, dtype: torch.dtype) -> None:
        self._generator = torch.Generator().manual_seed(hidden + dim)
        self._dtype = dtype
        gate_up = self.make(6, 2 * dim, hidden, scale=hidden**-0.5)
        down = self.make(6, hidden, dim, scale=dim**-0.5)
        self.weights = ExpertWeights(gate_up, down)

    def add_biases(self) -> None:
        experts, rows, hidden = self.weights.gate_up.shape
        biases = self.make(experts, rows), self.make(experts, hidden)
        self.weights = ExpertWeights(
            self.weights.gate_up, self.weights.down, *biases, ClampedGate(limit=1.5, slope=1.702)
        )

    def make(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        values = torch.randn(*shape, generator=self._generator) * scale
        return values.to(DEVICE, self._dtype)

    def route(self, num_tokens: int, slots: torch.Tensor | None = None) -> GpuExpertRoutes:
        logits = self.make(num_tokens, 6).float()
        logits[:, 4] += 2
        return route_tokens(logits, None, slots, PARAMS)

    def exact(
        self, x: torch.Tensor, routes: GpuExpertRoutes, residual: torch.Tensor
    ) -> torch.Tensor:
        exact = residual.double()
        plain = twin.ExpertRoutes(routes.expert_ids, routes.weights)
        weights = self.weights
        doubles = ExpertWeights(
            weights.gate_up.double(),
            weights.down.double(),
            None if weights.gate_up_bias is None else weights.gate_up_bias.double(),
            None if weights.down_bias is None else weights.down_bias.double(),
            weights.gate,
        )
        twin.add_experts_(x.double(), plain, doubles, exact)
        return exact


def assert_close(actual: torch.Tensor, wanted: torch.Tensor) -> None:
    tolerance = 2 * TOLERANCES[actual.dtype]  # what lies between the products is rounded as well
    torch.testing.assert_close(actual.double(), wanted, atol=tolerance * 4, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("hidden", "dim"), [(64, 32), (36, 44)])
@pytest.mark.parametrize("num_tokens", [1, 9, 70, 300])
def test_sums_are_those_of_double_precision(
    num_tokens: int, hidden: int, dim: int, dtype: torch.dtype
) -> None:
    layer = Layer(hidden, dim, dtype)
    x, residual = layer.make(num_tokens, hidden), layer.make(num_tokens, hidden)
    routes = layer.route(num_tokens)
    wanted = layer.exact(x, routes, residual)
    add_experts_(x, routes, layer.weights, residual)
    assert_close(residual, wanted)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("has_biases", [False, True])
def test_sums_of_many_tokens_are_those_of_double_precision(
    dtype: torch.dtype, has_biases: bool
) -> None:
    layer = Layer(320, 192, dtype)
    if has_biases:
        layer.add_biases()
    x, residual = layer.make(900, 320), layer.make(900, 320)
    routes = layer.route(900)
    assert supports_specialized(x, (layer.weights.gate_up, layer.weights.down), routes)
    wanted = layer.exact(x, routes, residual)
    add_experts_(x, routes, layer.weights, residual)
    assert_close(residual, wanted)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("num_tokens", [1, 70])
def test_products_may_have_biases_and_gates_be_clamped(num_tokens: int, dtype: torch.dtype) -> None:
    layer = Layer(36, 44, dtype)
    layer.add_biases()
    x, residual = layer.make(num_tokens, 36), layer.make(num_tokens, 36)
    routes = layer.route(num_tokens)
    wanted = layer.exact(x, routes, residual)
    add_experts_(x, routes, layer.weights, residual)
    assert_close(residual, wanted)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_padding_is_left_alone_and_spoils_no_token() -> None:
    layer = Layer(64, 32, torch.float32)
    x, residual = layer.make(8, 64), layer.make(8, 64)
    x[3], x[7], before = torch.nan, torch.inf, residual.clone()
    slots = torch.tensor([0, 1, 2, -1, 4, 5, 6, -1], device=DEVICE)
    real = slots >= 0
    routes = layer.route(8, slots)
    wanted = layer.exact(x, routes, residual)
    add_experts_(x, routes, layer.weights, residual)
    assert_close(residual[real], wanted[real])
    assert torch.equal(residual[~real], before[~real])


def test_equal_inputs_give_equal_bits_time_after_time() -> None:
    layer = Layer(64, 32, torch.float16)
    x, before = layer.make(20, 64), layer.make(20, 64)
    routes, first = layer.route(20), before.clone()
    add_experts_(x, routes, layer.weights, first)
    for _ in range(20 if HAS_GPU else 1):
        again = before.clone()
        add_experts_(x, routes, layer.weights, again)
        assert torch.equal(first, again)


def test_no_tokens_are_no_error() -> None:
    layer = Layer(64, 32, torch.float16)
    nothing = layer.make(0, 64)
    add_experts_(nothing, layer.route(0), layer.weights, nothing)


@pytest.mark.gpu
def test_a_graph_serves_any_distribution_of_tokens() -> None:
    layer = Layer(128, 64, torch.bfloat16)
    x, start, residual = (layer.make(24, 128) for _ in range(3))
    logits = layer.make(24, 6).float()

    def step() -> GpuExpertRoutes:
        residual.copy_(start)
        routes = route_tokens(logits, None, None, PARAMS)
        add_experts_(x, routes, layer.weights, residual)
        return routes

    step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        routes = step()
    for favourite in range(6):
        logits.copy_(layer.make(24, 6))
        logits[:, favourite] += 3
        x.copy_(layer.make(24, 128))
        graph.replay()
        assert_close(residual, layer.exact(x, routes, start))
