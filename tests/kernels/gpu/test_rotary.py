import pytest
import torch

from legato.kernels import rotary as twin
from legato.kernels.gpu.rotary import rotary_tables
from legato.tests.kernels.gpu.device import DEVICE, DTYPES

# One unit in the last place of numbers around one.
EPSILONS = {torch.float32: 3e-7, torch.float16: 1e-3, torch.bfloat16: 8e-3}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("half", [3, 48, 64])
def test_tables_are_those_of_the_twin_up_to_a_million_positions(
    half: int, dtype: torch.dtype
) -> None:
    positions = torch.tensor([0, 1, 17, 4096, 131_071, 999_983, 1_000_000], device=DEVICE)
    frequencies = 500_000 ** -(torch.arange(half, device=DEVICE) / half)
    wanted = twin.rotary_tables(positions, frequencies, 1.0, dtype)
    for actual, table in zip(
        rotary_tables(positions, frequencies, 1.0, dtype), wanted, strict=True
    ):
        assert actual.dtype == dtype
        torch.testing.assert_close(actual, table, atol=EPSILONS[dtype], rtol=0)


@pytest.mark.parametrize("position_dtype", [torch.int32, torch.int64])
def test_a_scale_stretches_both_tables(position_dtype: torch.dtype) -> None:
    positions = torch.tensor([3, 4], dtype=position_dtype, device=DEVICE)
    frequencies = torch.tensor([1.0, 0.1, 0.01], device=DEVICE)
    wanted = twin.rotary_tables(positions, frequencies, 1.5, torch.float32)
    actual = rotary_tables(positions, frequencies, 1.5, torch.float32)
    torch.testing.assert_close(actual, wanted, atol=1e-6, rtol=0)
