import pytest
import torch

from legato.kernels.linear import linear


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
