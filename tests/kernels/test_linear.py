import pytest
import torch

from legato.kernels.activation_kind import Activation
from legato.kernels.linear import gated_linear, linear, linear_add_, linear_float32


@pytest.mark.parametrize("num_tokens", [0, 1, 7])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_the_product_is_that_of_double_precision(
    num_tokens: int, has_bias: bool, dtype: torch.dtype, tolerance: float
) -> None:
    x, weight = torch.randn(num_tokens, 24).to(dtype), torch.randn(10, 24).to(dtype)
    bias = torch.randn(10).to(dtype) if has_bias else None
    actual = linear(x, weight, bias)
    wanted = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.double(), wanted, atol=tolerance, rtol=tolerance)


def test_products_may_have_more_digits_than_their_inputs() -> None:
    x, weight = torch.randn(3, 24).bfloat16(), torch.randn(10, 24).bfloat16()
    actual = linear_float32(x, weight)
    assert actual.dtype is torch.float32
    torch.testing.assert_close(actual, (x.double() @ weight.double().T).float())


def test_the_product_is_added_in_place() -> None:
    x, weight, bias, residual = (torch.randn(*s) for s in ((3, 24), (10, 24), (10,), (3, 10)))
    wanted = residual + x @ weight.T + bias
    linear_add_(x, weight, bias, residual)
    torch.testing.assert_close(residual, wanted)


def test_gates_are_the_first_half_of_the_rows() -> None:
    x, weight, bias = torch.randn(3, 24), torch.randn(10, 24), torch.randn(10)
    gate, up = (x @ weight.T + bias).chunk(2, dim=1)
    torch.testing.assert_close(gated_linear(x, weight, bias), gate * gate.sigmoid() * up)


def test_gates_may_be_gelu() -> None:
    x, weight = torch.randn(3, 24), torch.randn(10, 24)
    gate, up = (x @ weight.T).chunk(2, dim=1)
    wanted = torch.nn.functional.gelu(gate, approximate="tanh") * up
    torch.testing.assert_close(gated_linear(x, weight, None, Activation.GELU_TANH), wanted)
