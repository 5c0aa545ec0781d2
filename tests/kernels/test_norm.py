import pytest
import torch

from legato.kernels.norm import add_normed_, add_rms_norm, rms_norm


def expected(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    x = x.double()
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_rows_are_scaled_by_the_weight(dtype: torch.dtype, tolerance: float) -> None:
    x, weight = torch.randn(5, 48).to(dtype), torch.rand(48).to(dtype)
    torch.testing.assert_close(
        rms_norm(x, weight, 1e-5).double(), expected(x, weight), atol=tolerance, rtol=tolerance
    )


def test_a_weight_may_have_more_digits() -> None:
    x, weight = torch.randn(5, 48).bfloat16(), torch.rand(48)
    actual = rms_norm(x, weight, 1e-5)
    assert torch.equal(actual, rms_norm(x.float(), weight, 1e-5).bfloat16())


def test_heads_are_rows_too() -> None:
    x, weight = torch.randn(5, 3, 16)[:, 1:], torch.rand(16)
    actual = rms_norm(x, weight, 1e-5)
    torch.testing.assert_close(actual.double(), expected(x, weight), atol=1e-5, rtol=1e-5)


def test_the_residual_takes_in_the_addition() -> None:
    x, residual, weight = torch.randn(5, 16), torch.randn(5, 16), torch.rand(16)
    total = x + residual
    actual = add_rms_norm(x, residual, weight, 1e-5)
    assert torch.equal(residual, total)
    torch.testing.assert_close(actual, rms_norm(total, weight, 1e-5))


def test_the_norm_is_added_to_the_residual() -> None:
    x, residual, weight = torch.randn(5, 16), torch.randn(5, 16), torch.rand(16)
    wanted = residual + rms_norm(x, weight, 1e-5)
    add_normed_(x, residual, weight, 1e-5)
    assert torch.equal(residual, wanted)
