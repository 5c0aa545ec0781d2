"""Products with weights of experts, cut in different ways, against double precision."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from legato.kernels.activation import clamp_and_mul
from legato.kernels.activation_kind import ClampedGate
from legato.kernels.gpu.expert_linear import expert_linear
from legato.kernels.gpu.expert_routing import GpuExpertRoutes, route_tokens
from legato.kernels.gpu.experts_config import ProductConfig
from legato.kernels.routing_params import RoutingParams
from legato.tests.kernels.gpu.device import DEVICE, TOLERANCES

DTYPE = torch.float16
NUM_EXPERTS, TOP_K, NUM_TOKENS = 5, 2, 11
CONFIGS = [
    ProductConfig(block_rows=16, block_inputs=32, num_warps=4, num_stages=2, group_tiles=1),
    ProductConfig(block_rows=64, block_inputs=64, num_warps=4, num_stages=3, group_tiles=3),
    ProductConfig(block_rows=128, block_inputs=32, num_warps=8, num_stages=3),
]


def make(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).to(DEVICE, DTYPE)


def make_routes(block_pairs: int = 16) -> GpuExpertRoutes:
    params = RoutingParams(top_k=TOP_K)
    logits = make(NUM_TOKENS, NUM_EXPERTS)
    return route_tokens(logits, None, None, params, block_pairs=block_pairs)


def assert_close(actual: torch.Tensor, wanted: torch.Tensor) -> None:
    tolerance = TOLERANCES[DTYPE]
    scale = wanted.abs().max().item()
    torch.testing.assert_close(actual.double(), wanted, atol=tolerance * scale, rtol=tolerance)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("num_rows", [64, 72])
def test_each_pair_is_multiplied_with_its_experts_weight(
    config: ProductConfig, num_rows: int
) -> None:
    x, weight, routes = make(NUM_TOKENS * TOP_K, 64), make(NUM_EXPERTS, num_rows, 64), make_routes()
    experts = routes.expert_ids.flatten().long()
    wanted = torch.einsum("pi,poi->po", x.double(), weight.double()[experts])
    assert_close(expert_linear(x, weight, routes, 1, False, config=config), wanted)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("num_inputs", [64, 40])
def test_tokens_have_several_pairs_and_gates_are_the_first_half(
    config: ProductConfig, num_inputs: int
) -> None:
    x, weight = make(NUM_TOKENS, num_inputs), make(NUM_EXPERTS, 2 * 36, num_inputs)
    routes = make_routes()
    experts = routes.expert_ids.flatten().long()
    rows = x.double().repeat_interleave(TOP_K, dim=0)
    gate, up = torch.einsum("pi,poi->po", rows, weight.double()[experts]).chunk(2, dim=1)
    assert_close(expert_linear(x, weight, routes, TOP_K, True, config=config), F.silu(gate) * up)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("clamped", [None, ClampedGate(limit=2.0, slope=1.702)])
def test_biases_come_before_gates_and_gates_may_be_clamped(
    config: ProductConfig, clamped: ClampedGate | None
) -> None:
    x, weight, bias = (make(*size) for size in ((NUM_TOKENS, 40), (5, 72, 40), (5, 72)))
    routes = make_routes()
    experts = routes.expert_ids.flatten().long()
    rows = x.double().repeat_interleave(TOP_K, dim=0)
    product = torch.einsum("pi,poi->po", rows, weight.double()[experts]) + bias[experts]
    gate, up = product.chunk(2, dim=1)
    wanted = F.silu(gate) * up if clamped is None else clamp_and_mul(product, clamped)
    actual = expert_linear(
        x, weight, routes, TOP_K, True, bias=bias, clamped=clamped, config=config
    )
    assert_close(actual, wanted)


@pytest.mark.parametrize("is_gated", [False, True])
@pytest.mark.parametrize(("block_pairs", "tail_pairs"), [(64, 32), (64, 16), (32, 16)])
def test_narrow_last_tiles_change_no_result(
    block_pairs: int, tail_pairs: int, is_gated: bool
) -> None:
    """One expert has 40 pairs, which are wide tiles and a narrow one; others have about ten."""
    logits = make(40, NUM_EXPERTS)
    logits[:, 3] = 9
    routes = route_tokens(logits, None, None, RoutingParams(TOP_K), block_pairs=block_pairs)
    x, weight = make(40, 40), make(NUM_EXPERTS, 72, 40)
    config = ProductConfig(64, 32, num_warps=4, num_stages=3)
    wanted = expert_linear(x, weight, routes, TOP_K, is_gated, config=config)
    narrow = replace(config, tail_pairs=tail_pairs)
    actual = expert_linear(x, weight, routes, TOP_K, is_gated, config=narrow)
    torch.testing.assert_close(actual, wanted)


def test_rows_may_have_strides() -> None:
    x, weight, routes = make(NUM_TOKENS, 3 * 64), make(NUM_EXPERTS, 64, 64), make_routes()
    actual = expert_linear(x[:, 64:128], weight, routes, TOP_K, False)
    wanted = expert_linear(x[:, 64:128].contiguous(), weight, routes, TOP_K, False)
    assert torch.equal(actual, wanted)


def test_the_size_of_tiles_changes_no_result() -> None:
    x, weight = make(NUM_TOKENS, 64), make(NUM_EXPERTS, 32, 64)
    small, large = (expert_linear(x, weight, make_routes(n), TOP_K, False) for n in (16, 32))
    torch.testing.assert_close(small, large)
