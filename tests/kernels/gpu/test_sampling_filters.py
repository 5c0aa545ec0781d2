"""Filters are seen through draws: in flat rows, where few tokens stay, each is drawn often."""

import pytest
import torch

from legato.kernels import sampling as twin
from legato.kernels.gpu.sampling import sample
from legato.kernels.gpu.sampling_config import SamplingConfig
from legato.tests.kernels.asked_rows import Column, asked_rows
from legato.tests.kernels.gpu.device import DEVICE, HAS_GPU

SMALL = SamplingConfig(block=128, blocks_per_chunk=2, num_warps=4, candidate_block=64)
VOCAB_SIZE = 300
NUM_REPEATS = 100 if HAS_GPU else 3  # of each setting, with other logits and noise


def agreement(logits: torch.Tensor, config: SamplingConfig | None, **settings: Column) -> float:
    """Share of the rows that draw the twin's token; `settings` repeat until they fill the rows."""
    num_rows, vocab_size = logits.shape
    columns = {name: [*values] * (num_rows // len(values)) for name, values in settings.items()}
    rows = asked_rows(num_rows, vocab_size, DEVICE, seeds=range(7, 7 + num_rows), **columns)
    token_ids = sample(logits, rows, config=config)
    return float((token_ids == twin.sample(logits, rows)).float().mean())


def test_top_k_keeps_exactly_the_likeliest() -> None:
    top_ks = [1, 3, 12]
    logits = torch.randn(3 * NUM_REPEATS, VOCAB_SIZE, device=DEVICE) * 0.2
    assert agreement(logits, SMALL, top_ks=top_ks, temperatures=[0.7, 1.0, 2.0]) == 1


@pytest.mark.parametrize("spread", [0.1, 4.0])
def test_top_p_keeps_exactly_the_fewest_that_reach_it(spread: float) -> None:
    logits = torch.randn(3 * NUM_REPEATS, VOCAB_SIZE, device=DEVICE) * spread
    assert agreement(logits, SMALL, top_ps=[0.01, 0.6, 0.995], temperatures=[1.0]) == 1


def test_top_p_shares_out_what_min_p_and_top_k_have_left() -> None:
    logits = torch.randn(4 * NUM_REPEATS, VOCAB_SIZE, device=DEVICE)
    settings: dict[str, Column] = {
        "min_ps": [0.3, 0.01, 0.0, 0.2],
        "top_ks": [4, 40, 100, VOCAB_SIZE],
        "top_ps": [0.7, 0.3, 0.97, 0.5],
        "temperatures": [0.9],
    }
    assert agreement(logits, SMALL, **settings) == 1


def test_equal_tokens_stay_or_go_together() -> None:
    logits = (torch.randn(2 * NUM_REPEATS, VOCAB_SIZE, device=DEVICE) * 2).round()
    settings: dict[str, Column] = {
        "top_ks": [5, VOCAB_SIZE],
        "top_ps": [0.9, 0.3],
        "temperatures": [1.0],
    }
    assert agreement(logits, SMALL, **settings) == 1
    assert agreement(torch.zeros_like(logits[:2]), SMALL, **settings) == 1


def test_top_k_may_reach_beyond_what_a_mask_leaves() -> None:
    logits = torch.full((2, VOCAB_SIZE), float("-inf"), device=DEVICE)
    logits[:, [3, 200, 299]] = torch.tensor([1.0, 1.5, 1.2], device=DEVICE)
    with_few: dict[str, Column] = {"top_ks": [50], "top_ps": [1.0, 0.9], "temperatures": [1.0]}
    assert agreement(logits, SMALL, **with_few) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spread", [0.05, 1.0, 4.0])
def test_a_served_vocabulary_is_filtered_the_same(spread: float, dtype: torch.dtype) -> None:
    logits = (torch.randn(512, 151_936, device=DEVICE) * spread).to(dtype)
    settings: dict[str, Column] = {
        "min_ps": [0.0, 0.1, 0.0, 0.0, 0.0, 0.02, 0.0, 0.0],
        "top_ks": [151_936, 151_936, 50, 1000, 151_936, 100, 20_000, 151_936],
        "top_ps": [1.0, 1.0, 1.0, 0.9, 0.9, 0.95, 0.8, 0.999],
        "temperatures": [0.8],
    }
    # The twin's float32 sums over so many tokens put a top-p boundary a token aside now and then.
    assert agreement(logits, None, **settings) >= 0.99
