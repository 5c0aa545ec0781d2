"""Moving averages of a worker's own work."""

import pytest

from legato.cluster.rates import Rates
from legato.engine.batch import StepResult


def step(num_prefill_tokens: int = 0, num_decode_tokens: int = 0) -> StepResult:
    return StepResult((), num_prefill_tokens, num_decode_tokens, num_preempted=0)


def test_the_first_measurement_counts_in_full() -> None:
    rates = Rates()
    rates.add_step(step(num_prefill_tokens=100), 0.5)
    rates.add_step(step(num_decode_tokens=8), 0.02)
    rates.add_transfer(1000, 0.1)
    assert rates == Rates(200.0, 0.02, 10_000.0)


def test_later_ones_move_the_average_by_a_tenth() -> None:
    rates = Rates(prefill_tokens_per_s=100.0)
    rates.add_step(step(num_prefill_tokens=200), 1.0)
    assert rates.prefill_tokens_per_s == pytest.approx(110.0)


def test_a_mixed_step_says_nothing_about_the_time_of_a_decode_step() -> None:
    rates = Rates()
    rates.add_step(step(num_prefill_tokens=100, num_decode_tokens=8), 0.5)
    assert rates.step_time_s == 0
    assert rates.prefill_tokens_per_s == 200.0


def test_steps_without_tokens_and_transfers_without_bytes_are_no_measurement() -> None:
    rates = Rates()
    rates.add_step(step(), 0.05)
    rates.add_transfer(0, 0.1)
    rates.add_transfer(100, 0.0)
    assert rates == Rates()


def test_the_average_follows_a_lasting_change() -> None:
    rates = Rates(step_time_s=0.1)
    for _ in range(60):
        rates.add_step(step(num_decode_tokens=1), 0.01)
    assert rates.step_time_s == pytest.approx(0.01, rel=0.05)
