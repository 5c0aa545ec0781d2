"""Experts of few tokens against the twin in double precision."""

from dataclasses import dataclass, replace

import pytest
import torch

from legato.kernels import experts as twin
from legato.kernels.activation_kind import ClampedGate
from legato.kernels.expert_weights import ExpertWeights
from legato.kernels.gpu.token_experts import TokenConfig, add_token_experts_, suits_tokens
from legato.kernels.routing_params import GroupLimit, RoutingParams, Scoring
from legato.tests.kernels.gpu.device import DEVICE, DTYPES, TOLERANCES

SOFTMAX = RoutingParams(top_k=4, renormalizes=True)
SIGMOID = RoutingParams(
    top_k=3, scoring=Scoring.SIGMOID, weight_scale=2.5, groups=GroupLimit(4, 2, 2)
)
SMALL = TokenConfig(gate_rows=4, gate_inputs=16, down_rows=8, down_inputs=16)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Random weights of experts, and tokens."""

    x: torch.Tensor
    logits: torch.Tensor
    weights: ExpertWeights

    @staticmethod
    def make(dtype: torch.dtype, num_tokens: int = 2, hidden: int = 48, dim: int = 36) -> "Layer":
        generator = torch.Generator().manual_seed(hidden + dim)

        def random(*shape: int, scale: float = 1.0) -> torch.Tensor:
            return (torch.randn(*shape, generator=generator) * scale).to(DEVICE, dtype)

        gate_up = random(24, 2 * dim, hidden, scale=hidden**-0.5)
        down = random(24, hidden, dim, scale=dim**-0.5)
        logits = random(num_tokens, 24).float()
        return Layer(random(num_tokens, hidden), logits, ExpertWeights(gate_up, down))

    def with_biases(self) -> "Layer":
        gate_up, down = self.weights.gate_up, self.weights.down
        weights = ExpertWeights(
            gate_up,
            down,
            gate_up[:, :, 0].contiguous(),
            down[:, :, 0].contiguous(),
            ClampedGate(limit=1.5, slope=1.702),
        )
        return replace(self, weights=weights)


def check(
    layer: Layer,
    params: RoutingParams = SOFTMAX,
    correction: torch.Tensor | None = None,
    slots: torch.Tensor | None = None,
    config: TokenConfig = SMALL,
) -> None:
    x, logits, weights = layer.x, layer.logits, layer.weights
    found = torch.ones_like(x)
    add_token_experts_(x, logits, correction, slots, params, weights, found, config=config)
    doubles = ExpertWeights(
        weights.gate_up.double(),
        weights.down.double(),
        None if weights.gate_up_bias is None else weights.gate_up_bias.double(),
        None if weights.down_bias is None else weights.down_bias.double(),
        weights.gate,
    )
    exact = torch.ones_like(x, dtype=torch.float64)
    twin.add_chosen_experts_(x.double(), logits, correction, slots, params, doubles, exact)
    tolerance = TOLERANCES[x.dtype]
    torch.testing.assert_close(found.double(), exact, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type(dtype: torch.dtype) -> None:
    check(Layer.make(dtype))


def test_groups_corrections_and_scaled_sigmoids() -> None:
    correction = torch.linspace(-0.3, 0.3, 24, device=DEVICE)
    check(Layer.make(torch.float32), SIGMOID, correction)


def test_biases_and_clamped_gates() -> None:
    check(Layer.make(torch.float32).with_biases())


def test_rows_of_padding_stay_as_they_are() -> None:
    slots = torch.tensor([3, -1, 5], device=DEVICE)
    check(Layer.make(torch.float32, num_tokens=3), slots=slots)


@pytest.mark.parametrize(("hidden", "dim"), [(16, 16), (40, 23), (64, 33)])
def test_sizes_that_fill_no_block(hidden: int, dim: int) -> None:
    check(Layer.make(torch.float32, 1, hidden, dim))


def test_the_configuration_that_is_served() -> None:
    check(Layer.make(DTYPES[-1], 1, 320, 200), config=TokenConfig())


def test_results_are_the_same_every_time() -> None:
    layer = Layer.make(torch.float32)
    first, again = torch.ones_like(layer.x), torch.ones_like(layer.x)
    for residual in (first, again):
        add_token_experts_(layer.x, layer.logits, None, None, SOFTMAX, layer.weights, residual)
    assert torch.equal(first, again)


def test_few_tokens_of_many_experts_go_by_themselves() -> None:
    assert suits_tokens(1, 8, 128) and suits_tokens(2, 8, 128) and suits_tokens(1, 6, 64)
    assert not suits_tokens(3, 8, 128) and not suits_tokens(1, 2, 8)
