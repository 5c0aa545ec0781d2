# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
import torch
import triton
import triton.language as tl

from legato.kernels.gpu.random import run_log_noise, token_log_noise
from legato.kernels.random import exponential_noise
from legato.tests.kernels.gpu.device import DEVICE

SIZE = 128


@triton.jit
def fill_noise(seeds, positions, runs, scattered, first_token, SIZE: tl.constexpr):
    row = tl.program_id(0)
    lanes = tl.arange(0, SIZE)
    seed, position = tl.load(seeds + row), tl.load(positions + row)
    tl.store(runs + row * SIZE + lanes, run_log_noise(seed, position, first_token, SIZE))
    backwards = first_token + SIZE - 1 - lanes
    tl.store(scattered + row * SIZE + lanes, token_log_noise(seed, position, backwards))


def test_noise_is_the_twins_for_runs_and_for_single_tokens() -> None:
    first_token = 1000
    seeds = torch.tensor([0, -1, 1 << 40, -(1 << 63)], device=DEVICE)
    positions = torch.tensor([0, 9, (1 << 31) + 5, 1 << 35], device=DEVICE)
    runs, scattered = (torch.empty(4, SIZE, device=DEVICE) for _ in range(2))
    fill_noise[(4,)](seeds, positions, runs, scattered, first_token, SIZE=SIZE)
    expected = exponential_noise(seeds, positions, first_token + SIZE)[:, first_token:].log()
    torch.testing.assert_close(runs, expected, atol=2e-6, rtol=2e-6)
    assert torch.equal(scattered.flip(1), runs)
