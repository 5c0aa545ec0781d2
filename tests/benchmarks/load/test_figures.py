"""Percentiles and service levels, on streams that are known."""

import math

import pytest

from legato.tests.benchmarks.load.figures import LoadFigures, meets, percentile
from legato.tests.benchmarks.load.traces import refused, streamed


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([3, 1, 2], 50, 2), ([1, 2], 50, 1.5), (list(range(101)), 99, 99), ([7], 99, 7)],
)
def test_percentiles_are_linear_between_ranks(
    values: list[float], percent: float, expected: float
) -> None:
    assert percentile(values, percent) == pytest.approx(expected)


def test_the_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(percentile([], 50))


def test_the_service_level_wants_a_quick_token_and_a_smooth_stream() -> None:
    smooth = [5.0] * 200
    assert meets(streamed(400, smooth), 10)
    assert not meets(streamed(501, smooth), 10)
    assert not meets(streamed(400, [5.0] * 190 + [12.0] * 10), 10)
    assert meets(streamed(400, [5.0] * 190 + [12.0] * 10), 15)


def test_one_stall_in_two_hundred_tokens_is_forgiven_and_three_are_not() -> None:
    assert meets(streamed(100, [5.0] * 199 + [80.0]), 10)
    assert not meets(streamed(100, [5.0] * 197 + [80.0] * 3), 10)


def test_an_answer_of_one_token_is_smooth() -> None:
    assert meets(streamed(100, []), 10)


def test_failed_requests_meet_no_level_and_count_in_its_share() -> None:
    figures = LoadFigures.of([streamed(100, [5.0] * 20), refused()])
    assert figures.num_failed == 1
    assert figures.failure == "503 full"
    assert figures.shares == {"10": 50.0, "15": 50.0, "25": 50.0}


def test_figures_are_over_all_tokens_of_whole_answers() -> None:
    traces = [streamed(100, [5.0, 5.0, 20.0]), streamed(300, [5.0], sent_s=101.0), refused()]
    figures = LoadFigures.of(traces)
    assert figures.ttft_p50_ms == pytest.approx(200)
    assert figures.itl_p50_ms == pytest.approx(5)
    assert figures.itl_max_ms == pytest.approx(20)
    assert figures.output_tokens_per_s == pytest.approx(6 / 1.305)
    assert figures.num_joined_tokens == 0
    assert figures.late_max_ms == pytest.approx(2)


def test_no_answer_at_all_still_gives_figures() -> None:
    figures = LoadFigures.of([refused()])
    assert math.isnan(figures.ttft_p50_ms)
    assert figures.output_tokens_per_s == 0
