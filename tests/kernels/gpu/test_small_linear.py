from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from legato.kernels.gpu.small_linear import Fused, small_linear
from legato.kernels.gpu.small_linear_config import SmallLinearConfig
from legato.tests.kernels.gpu.device import DEVICE, DTYPES, HAS_GPU, TOLERANCES

# The kernel takes what tensor cores do: types of two bytes.
TYPES = [dtype for dtype in DTYPES if dtype is not torch.float32]
WHOLE = SmallLinearConfig(16, 64, num_splits=1, num_warps=4, num_stages=3)
SPLIT = SmallLinearConfig(16, 64, num_splits=3, num_warps=4, num_stages=3)
TALL = SmallLinearConfig(64, 64, num_splits=2, num_warps=4, num_stages=4)

Make = Callable[..., torch.Tensor]


@pytest.fixture(params=TYPES, ids=str)
def make(request: pytest.FixtureRequest) -> Make:
    """Normal random numbers of the type under test, on the device."""
    generator = torch.Generator().manual_seed(7)

    def make(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(DEVICE, request.param)

    return make


def assert_close(actual: torch.Tensor, wanted: torch.Tensor) -> None:
    """`wanted` is double precision; sums of products of about one."""
    tolerance = TOLERANCES[actual.dtype]
    scale = wanted.abs().max().item()
    torch.testing.assert_close(actual.double(), wanted, atol=tolerance * scale, rtol=tolerance)


@pytest.mark.parametrize("config", [WHOLE, SPLIT, TALL])
@pytest.mark.parametrize("num_tokens", [1, 5, 16, 17])
def test_the_product_is_that_of_double_precision(
    make: Make, num_tokens: int, config: SmallLinearConfig
) -> None:
    x, weight, bias = make(num_tokens, 320), make(128, 320), make(128)  # 5 blocks: uneven splits
    out = torch.full_like(make(num_tokens, 128), torch.nan)
    small_linear(x, weight, bias, out, config)
    assert_close(out, F.linear(x.double(), weight.double(), bias.double()))


@pytest.mark.parametrize("config", [WHOLE, SPLIT])
def test_the_product_is_added_to_what_is_there(make: Make, config: SmallLinearConfig) -> None:
    x, weight, residual = make(6, 192), make(48, 192), make(6, 48)
    wanted = residual.double() + F.linear(x.double(), weight.double())
    small_linear(x, weight, None, residual, config, Fused(adds=True))
    assert_close(residual, wanted)


@pytest.mark.parametrize("config", [WHOLE, SPLIT])
def test_gates_are_the_first_half_of_the_rows(make: Make, config: SmallLinearConfig) -> None:
    x, weight, bias = make(3, 192), make(2 * 48, 192), make(2 * 48)
    out = torch.full_like(make(3, 48), torch.nan)
    small_linear(x, weight, bias, out, config, Fused(is_gated=True))
    gate, up = F.linear(x.double(), weight.double(), bias.double()).chunk(2, dim=1)
    assert_close(out, F.silu(gate) * up)


def test_rows_may_have_strides(make: Make) -> None:
    x, weight, out = make(4, 3 * 128), make(64, 128), make(4, 2 * 64)
    neighbours = out[:, 64:].clone()
    small_linear(x[:, 128:256], weight, None, out[:, :64], TALL)
    assert_close(out[:, :64], F.linear(x[:, 128:256].double(), weight.double()))
    assert torch.equal(out[:, 64:], neighbours)


def test_rows_after_the_last_token_are_left_alone(make: Make) -> None:
    x, weight = make(3, 192), make(32, 192)
    out = torch.full_like(make(16, 32), torch.nan)
    small_linear(x, weight, None, out[:3], SPLIT)
    assert not out[:3].isnan().any()
    assert out[3:].isnan().all()


def test_a_token_that_is_not_a_number_spoils_no_other(make: Make) -> None:
    x, weight, out = make(3, 192), make(32, 192), make(3, 32)
    x[1] = torch.nan
    small_linear(x, weight, None, out, SPLIT)
    assert out[1].isnan().all()
    assert not out[[0, 2]].isnan().any()


def test_equal_inputs_give_equal_bits_time_after_time(make: Make) -> None:
    x, weight = make(8, 512), make(64, 512)
    first, again = make(8, 64), make(8, 64)
    small_linear(x, weight, None, first, SPLIT)
    for _ in range(20 if HAS_GPU else 1):  # also: arrivals are counted from zero each time
        small_linear(x, weight, None, again, SPLIT)
        assert torch.equal(first, again)


@pytest.mark.gpu
def test_kernels_that_follow_each_other_in_a_graph_see_each_others_results(make: Make) -> None:
    """Each may start before the one before it has ended."""
    weights = [make(256, 256) / 16 for _ in range(20)]  # products are about as large as inputs
    x = make(4, 256)

    def chain() -> torch.Tensor:
        hidden = x
        for weight in weights:
            out = torch.empty_like(hidden)
            small_linear(hidden, weight, None, out, TALL)
            hidden = out
        return hidden

    chain()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = chain()
    for _ in range(3):
        x.copy_(make(4, 256))
        graph.replay()
        wanted = x.double()
        for weight in weights:
            wanted = F.linear(wanted, weight.double())
        torch.testing.assert_close(result.double(), wanted, atol=0.1, rtol=0.1)
