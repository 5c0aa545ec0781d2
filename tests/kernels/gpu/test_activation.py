from collections.abc import Callable

import pytest
import torch

from legato.kernels import activation as twin
from legato.kernels.gpu.activation import (
    ActivationConfig,
    choose_config,
    gelu_tanh_and_mul,
    silu_and_mul,
)
from legato.tests.kernels.gpu.device import DEVICE, DTYPES, TOLERANCES

# 2 ** large is infinite, and a gate over infinity is 0: numpy, under the interpreter, warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp2")

Activation = Callable[[torch.Tensor], torch.Tensor]
ACTIVATIONS = [(silu_and_mul, twin.silu_and_mul), (gelu_tanh_and_mul, twin.gelu_tanh_and_mul)]


def assert_close(actual: torch.Tensor, wanted: torch.Tensor) -> None:
    tolerance = TOLERANCES[actual.dtype]
    torch.testing.assert_close(actual.double(), wanted, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("activation", "wanted"), ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 5, 96, 1024, 1500])
def test_products_are_those_of_the_twin(
    activation: Activation, wanted: Activation, dtype: torch.dtype, dim: int
) -> None:
    gate_up = (torch.randn(3, 2 * dim, device=DEVICE) * 3).to(dtype)
    assert_close(activation(gate_up), wanted(gate_up.double()))


@pytest.mark.parametrize(("activation", "wanted"), ACTIVATIONS)
def test_far_gates_are_closed_or_open(activation: Activation, wanted: Activation) -> None:
    gates = torch.tensor([[-1e4, -300.0, -90.0, 0.0, 90.0, 300.0, 1e4]], device=DEVICE)
    gate_up = torch.cat((gates, torch.ones_like(gates)), dim=-1)
    assert_close(activation(gate_up), wanted(gate_up.double()))


def test_rows_may_lie_apart() -> None:
    gate_up = torch.randn(4, 100, device=DEVICE)[:, 10:74]
    assert_close(silu_and_mul(gate_up), twin.silu_and_mul(gate_up.double()))


def test_blocks_need_not_divide_a_row() -> None:
    gate_up = torch.randn(2, 2 * 100, device=DEVICE)
    actual = silu_and_mul(gate_up, config=ActivationConfig(block=64, num_warps=1))
    assert torch.equal(actual, silu_and_mul(gate_up))


def test_no_block_is_wider_than_the_next_power_of_two() -> None:
    assert choose_config(8192, 100).block == 128
    assert choose_config(1, 14336).block < choose_config(8192, 14336).block
