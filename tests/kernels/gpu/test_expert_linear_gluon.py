"""Products of many tokens by specialized warps: the same as by any warps."""

import pytest
import torch
import torch.nn.functional as F

from legato.kernels.activation import clamp_and_mul
from legato.kernels.activation_kind import ClampedGate
from legato.kernels.gpu.expert_linear_gluon import (
    specialized_expert_linear,
    supports_specialized,
)
from legato.kernels.gpu.expert_routing import GpuExpertRoutes, route_tokens
from legato.kernels.routing_params import RoutingParams
from legato.tests.kernels.gpu.device import DEVICE, TOLERANCES

NUM_EXPERTS, TOP_K = 9, 2
HALVES = [torch.bfloat16, torch.float16]


def make(dtype: torch.dtype, *shape: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (torch.randn(*shape, generator=generator) * scale).to(DEVICE, dtype)


def make_routes(num_tokens: int = 700, slots: torch.Tensor | None = None) -> GpuExpertRoutes:
    """One expert has hundreds of pairs, one has none, one a handful."""
    logits = make(torch.float32, num_tokens, NUM_EXPERTS)
    logits[:, 4] += 2
    logits[:, 6] -= 100
    logits[:, 2] -= 2.5
    return route_tokens(logits, None, slots, RoutingParams(TOP_K), block_pairs=128)


def products(
    x: torch.Tensor, weight: torch.Tensor, routes: GpuExpertRoutes, bias: torch.Tensor | None
) -> torch.Tensor:
    """[pairs, rows] in double precision, of pairs in their list's order"""
    pairs = routes.pairs.long()
    experts = routes.expert_ids.flatten()[pairs].long()
    result = torch.empty(len(pairs), weight.shape[1], dtype=torch.float64, device=x.device)
    for expert in range(len(weight)):
        is_its = experts == expert
        rows = x[pairs[is_its] // TOP_K].double()
        result[is_its] = rows @ weight[expert].double().T
        if bias is not None:
            result[is_its] += bias[expert].double()
    return result


def assert_close(actual: torch.Tensor, wanted: torch.Tensor) -> None:
    tolerance = TOLERANCES[actual.dtype]
    scale = wanted.abs().max().item()
    torch.testing.assert_close(actual.double(), wanted, atol=tolerance * scale, rtol=tolerance)


def test_only_many_pairs_on_a_hopper_gpu_are_computed_so() -> None:
    routes = make_routes(40)
    x, weight = make(torch.float16, 40, 64), make(torch.float16, NUM_EXPERTS, 64, 64)
    odd = make(torch.float16, NUM_EXPERTS, 64, 72)
    single = x.float(), (weight.float(), weight.float())
    assert not supports_specialized(*single, routes)
    assert not supports_specialized(x, (weight, odd), routes)
    assert supports_specialized(x, (weight, weight), routes) == (DEVICE.type == "cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize(("dim", "hidden"), [(256, 512), (208, 64), (48, 128)])
@pytest.mark.parametrize("clamped", [None, ClampedGate(limit=2.0, slope=1.702)])
def test_gated_results_of_gathered_tokens_are_in_the_order_of_pairs(
    dtype: torch.dtype, dim: int, hidden: int, clamped: ClampedGate | None
) -> None:
    x, routes = make(dtype, 700, hidden), make_routes()
    weight = make(dtype, NUM_EXPERTS, 2 * dim, hidden, scale=hidden**-0.5)
    bias = None if clamped is None else make(dtype, NUM_EXPERTS, 2 * dim)
    product = products(x, weight, routes, bias)
    gate, up = product.chunk(2, dim=1)
    wanted = F.silu(gate) * up if clamped is None else clamp_and_mul(product, clamped)
    actual = specialized_expert_linear(x, weight, routes, True, bias=bias, clamped=clamped)
    assert_close(actual, wanted)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize(("hidden", "dim"), [(512, 256), (208, 64), (80, 192)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_results_of_listed_rows_are_where_their_pairs_belong(
    dtype: torch.dtype, hidden: int, dim: int, has_bias: bool
) -> None:
    routes = make_routes()
    tokens = make(dtype, 700, dim)
    listed = tokens[routes.pairs.long() // TOP_K]
    weight = make(dtype, NUM_EXPERTS, hidden, dim, scale=dim**-0.5)
    bias = make(dtype, NUM_EXPERTS, hidden) if has_bias else None
    actual = specialized_expert_linear(listed, weight, routes, False, bias=bias)
    assert_close(actual[routes.pairs.long()], products(tokens, weight, routes, bias))


@pytest.mark.gpu
def test_tokens_may_have_strides_and_padding_harms_nobody() -> None:
    slots = torch.arange(700, device=DEVICE)
    slots[500:] = -1
    x, routes = make(torch.bfloat16, 700, 3 * 128), make_routes(700, slots)
    x[500:] = float("nan")
    middle, weight = x[:, 128:256], make(torch.bfloat16, NUM_EXPERTS, 512, 128)
    actual = specialized_expert_linear(middle, weight, routes, True)
    wanted = specialized_expert_linear(middle.contiguous(), weight, routes, True)
    assert torch.equal(actual[: 500 * TOP_K], wanted[: 500 * TOP_K])
    assert actual[: 500 * TOP_K].isfinite().all()


@pytest.mark.gpu
def test_results_are_the_same_every_time() -> None:
    x, routes = make(torch.bfloat16, 3000, 256), make_routes(3000)
    weight = make(torch.bfloat16, NUM_EXPERTS, 1024, 256)
    first = specialized_expert_linear(x, weight, routes, True)
    for _ in range(20):
        assert torch.equal(specialized_expert_linear(x, weight, routes, True), first)
