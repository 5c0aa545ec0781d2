"""Moving averages of a worker's own work."""

import pytest

from legato.cluster.rates import Rates
from legato.engine.batch import StepResult


def step(num_prefill_tokens: int = 0, num_decode_tokens: int = 0) -> StepResult:
    return StepResult((), num_prefill_tokens, num_decode_tokens)


def test_only_the_nominal_rate_is_known_before_the_first_measurement() -> None:
    rates = Rates(nominal_transfer_bytes_per_s=2e9)
    assert rates.prefill_tokens_per_s == rates.step_time_s == 0
    assert rates.transfer_bytes_per_s == 2e9


def test_the_first_measurement_counts_in_full() -> None:
    rates = Rates(nominal_transfer_bytes_per_s=2e9)
    rates.add_step(step(num_prefill_tokens=100), 0.5)
    rates.add_step(step(num_decode_tokens=8), 0.02)
    rates.add_transfer(1000, 0.1)
    assert rates.prefill_tokens_per_s == pytest.approx(200)
    assert rates.step_time_s == pytest.approx(0.02)
    assert rates.transfer_bytes_per_s == pytest.approx(10_000)


def test_many_tiny_prompts_do_not_hide_how_fast_a_long_one_goes() -> None:
    rates = Rates(nominal_transfer_bytes_per_s=2e9)
    for _ in range(20):
        rates.add_step(step(num_prefill_tokens=1), 0.001)
    rates.add_step(step(num_prefill_tokens=10_000), 1.0)
    assert rates.prefill_tokens_per_s > 9000


def test_a_mixed_step_says_nothing_about_the_time_of_a_decode_step() -> None:
    rates = Rates(nominal_transfer_bytes_per_s=2e9)
    rates.add_step(step(num_prefill_tokens=100, num_decode_tokens=8), 0.5)
    assert rates.step_time_s == 0
    assert rates.prefill_tokens_per_s == pytest.approx(200)


def test_the_average_follows_a_lasting_change() -> None:
    rates = Rates(nominal_transfer_bytes_per_s=2e9)
    rates.add_step(step(num_decode_tokens=1), 0.1)
    for _ in range(60):
        rates.add_step(step(num_decode_tokens=1), 0.01)
    assert rates.step_time_s == pytest.approx(0.01, rel=0.1)


def test_the_time_to_first_tokens_is_a_mean_of_the_last_ones() -> None:
    rates = Rates(nominal_transfer_bytes_per_s=2e9)
    assert rates.ttft_s == 0
    rates.add_first_token(0.2)
    rates.add_first_token(0.4)
    assert rates.ttft_s == pytest.approx(0.3, rel=0.05)
    for _ in range(100):
        rates.add_first_token(0.1)
    assert rates.ttft_s == pytest.approx(0.1, rel=0.05)
