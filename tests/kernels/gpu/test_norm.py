import pytest
import torch

from legato.kernels import norm as twin
from legato.kernels.gpu.norm import NormConfig, add_normed_, add_rms_norm, choose_config, rms_norm
from legato.tests.kernels.gpu.device import DEVICE, DTYPES, TOLERANCES

EPS = 1e-5


def random(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, device=DEVICE).to(dtype)


def assert_close(actual: torch.Tensor, wanted: torch.Tensor) -> None:
    tolerance = TOLERANCES[actual.dtype]
    torch.testing.assert_close(actual.double(), wanted.double(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 7, 96, 128, 4096, 5120])
def test_rows_are_those_of_the_twin(dim: int, dtype: torch.dtype) -> None:
    x, weight = random(3, dim, dtype=dtype), random(dim, dtype=dtype)
    wanted = twin.rms_norm(x.double(), weight.double(), EPS)
    assert_close(rms_norm(x, weight, EPS), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_may_have_more_digits(dtype: torch.dtype) -> None:
    x, weight = random(3, 96, dtype=dtype), random(96, dtype=torch.float32)
    actual = rms_norm(x, weight, EPS)
    assert actual.dtype is dtype
    assert_close(actual, twin.rms_norm(x.double(), weight.double(), EPS))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [7, 4096])
def test_the_residual_takes_in_the_addition(dim: int, dtype: torch.dtype) -> None:
    x, residual, weight = (
        random(4, dim, dtype=dtype),
        random(4, dim, dtype=dtype),
        random(dim, dtype=dtype),
    )
    total = x + residual
    actual = add_rms_norm(x, residual, weight, EPS)
    assert torch.equal(residual, total)
    assert_close(actual, twin.rms_norm(total.double(), weight.double(), EPS))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [7, 4096])
def test_the_norm_is_added_to_the_residual(dim: int, dtype: torch.dtype) -> None:
    x, wide = random(4, dim, dtype=dtype), random(4, dim + 8, dtype=dtype)
    residual, weight = wide[:, :dim], random(dim, dtype=torch.float32)
    wanted, outside = residual.double(), wide[:, dim:].clone()
    twin.add_normed_(x.double(), wanted, weight.double(), EPS)
    add_normed_(x, residual, weight, EPS)
    assert_close(residual, wanted)
    assert torch.equal(wide[:, dim:], outside)


def test_rows_may_lie_apart() -> None:
    wide, weight = random(5, 3 * 32, dtype=torch.float32), random(32, dtype=torch.float32)
    part, residual = wide[:, 32:64], random(5, 48, dtype=torch.float32)[:, :32]
    assert_close(rms_norm(part, weight, EPS), twin.rms_norm(part, weight, EPS))
    wanted = twin.rms_norm(part + residual, weight, EPS)
    assert_close(add_rms_norm(part, residual, weight, EPS), wanted)


def test_large_values_do_not_overflow() -> None:
    x, weight = torch.full((2, 64), 30_000.0, device=DEVICE).half(), torch.ones(64, device=DEVICE)
    assert_close(rms_norm(x, weight.half(), EPS), torch.ones_like(x))


def test_no_rows_are_no_error() -> None:
    x, weight = random(0, 64, dtype=torch.float32), random(64, dtype=torch.float32)
    assert add_rms_norm(x, x.clone(), weight, EPS).shape == (0, 64)


def test_the_configuration_changes_no_value() -> None:
    x, weight = random(2, 256, dtype=torch.float32), random(256, dtype=torch.float32)
    one = rms_norm(x, weight, EPS, config=NormConfig(num_warps=1))
    assert_close(rms_norm(x, weight, EPS, config=NormConfig(num_warps=8)), one)


def test_every_size_has_between_one_and_sixteen_warps() -> None:
    warps = {choose_config(rows, dim).num_warps for rows in (1, 8192) for dim in (1, 4096, 1 << 17)}
    assert warps == {1, 8, 16}
