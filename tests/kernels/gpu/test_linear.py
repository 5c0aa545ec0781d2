"""The GPU's linear layers against their twins: sizes for the kernel, and sizes for cuBLAS."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from legato.kernels import linear as twins
from legato.kernels.activation_kind import Activation
from legato.kernels.gpu import linear as gpu
from legato.kernels.gpu.small_linear_config import choose
from legato.tests.kernels.gpu.device import DEVICE, DTYPES, TOLERANCES

# Tokens, rows of the weight, inputs; our kernel is for the first.
SIZES = [(3, 64, 128), (3, 20, 50), (65, 64, 128)]

Operation = Callable[[ModuleType, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


def make(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).to(DEVICE, dtype)


def linear(
    module: ModuleType, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    result: torch.Tensor = module.linear(x, weight, bias)
    return result


def linear_add(
    module: ModuleType, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    residual = make(x.shape[0], weight.shape[0], dtype=x.dtype)
    module.linear_add_(x, weight, bias, residual)
    return residual


def gated_linear(
    module: ModuleType, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    result: torch.Tensor = module.gated_linear(x, weight, bias)
    return result


def gelu_gated_linear(
    module: ModuleType, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    # Gates so small that their cubes do not overflow, of which the interpreter warns.
    result: torch.Tensor = module.gated_linear(x / 16, weight, bias, Activation.GELU_TANH)
    return result


OPERATIONS = [linear, linear_add, gated_linear, gelu_gated_linear]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("num_tokens", "num_rows", "num_inputs"), SIZES)
@pytest.mark.parametrize("has_bias", [False, True])
def test_results_are_those_of_the_twin(
    operation: Operation,
    dtype: torch.dtype,
    num_tokens: int,
    num_rows: int,
    num_inputs: int,
    has_bias: bool,
) -> None:
    x, weight = make(num_tokens, num_inputs, dtype=dtype), make(num_rows, num_inputs, dtype=dtype)
    bias = make(num_rows, dtype=dtype) if has_bias else None
    actual, wanted = (operation(module, x, weight, bias) for module in (gpu, twins))
    assert actual.dtype is dtype and actual.is_contiguous()
    tolerance = 2 * TOLERANCES[dtype]  # twins round as well, and between their steps
    scale = wanted.abs().max().item()
    torch.testing.assert_close(actual, wanted, atol=tolerance * scale, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("num_tokens", "num_rows", "num_inputs"), SIZES)
def test_products_may_have_more_digits_than_their_inputs(
    dtype: torch.dtype, num_tokens: int, num_rows: int, num_inputs: int
) -> None:
    x, weight = make(num_tokens, num_inputs, dtype=dtype), make(num_rows, num_inputs, dtype=dtype)
    actual = gpu.linear_float32(x, weight)
    assert actual.dtype is torch.float32
    wanted = x.double() @ weight.double().T
    torch.testing.assert_close(actual.double(), wanted, atol=1e-4, rtol=1e-4)


def test_the_sizes_above_are_of_both_sorts() -> None:
    assert [choose(*size, {}) is not None for size in SIZES] == [True, False, False]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_tokens_are_no_error(operation: Operation) -> None:
    x, weight = make(0, 128, dtype=torch.float16), make(64, 128, dtype=torch.float16)
    assert operation(gpu, x, weight, None).shape[0] == 0


def test_weights_in_odd_places_are_left_to_cublas() -> None:
    x, values = make(3, 128, dtype=torch.float16), make(64 * 128 + 1, dtype=torch.float16)
    for weight in (values[1:].view(64, 128), values[:-1].view(128, 64).T):
        wanted = x.float() @ weight.float().T
        torch.testing.assert_close(gpu.linear(x, weight, None).float(), wanted, atol=0.1, rtol=0.01)
