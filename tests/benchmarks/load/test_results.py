"""Results survive their file, and become tables and curves."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from legato.tests.benchmarks.load.figures import LoadFigures
from legato.tests.benchmarks.load.plot import curves
from legato.tests.benchmarks.load.results import (
    FaultCheck,
    GreedyAnswers,
    IdlePoint,
    LeakCheck,
    LoadPoint,
    Results,
    Setup,
)
from legato.tests.benchmarks.load.tables import result_rows, show_peer
from legato.tests.benchmarks.load.traces import refused, streamed

APART = Setup("1 prefill + 1 decode", 1, 1)
TOGETHER = Setup("2 colocated", 0, 2)
SMOOTH = LoadFigures.of([streamed(120, [5.0] * 100)] * 9 + [streamed(120, [12.0] * 100)])
IDLE = IdlePoint(APART, 2048, 50, 46.0, 50.0, 7.0, 9.0, 5.0, 100.0, 340.0, {"moved": 50.0})
KILLED = FaultCheck(
    setup=APART,
    fault="decode worker killed",
    is_hang=False,
    num_requests=40,
    num_waiting=2,
    num_streaming=6,
    num_equal=40,
    num_failed=0,
    failure=None,
    longest_gap_s=6.0,
    longest_ttft_s=0.5,
    replaced_s=8.0,
    leaked_blocks={"p": 0.0, "d": 1.0},
    facts={"legato_failovers_total": 6.0},
)


@pytest.fixture
def results() -> Results:
    return Results(
        devices="a machine",
        model="a model",
        load=[LoadPoint(setup, "L", 3.0, 30.0, SMOOTH, {}) for setup in (APART, TOGETHER)],
        idle=[IDLE, replace(IDLE, setup=TOGETHER, ttft_p50_ms=45.0, transfer_gb_per_s=None)],
        leaks=[LeakCheck(APART, 100, 20, 0, None, 3.0, {"p": 0.0, "d": 1.0}, {})],
        greedy=[GreedyAnswers(APART, [[1], [2]]), GreedyAnswers(TOGETHER, [[1], [3]])],
        faults=[KILLED],
    )


def test_a_file_of_results_gives_them_back(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results


def test_a_load_of_which_nothing_came_back_is_kept_too(results: Results, tmp_path: Path) -> None:
    results.load = [LoadPoint(APART, "L", 3.0, 30.0, LoadFigures.of([refused()]), {})]
    results.write(tmp_path / "results.json")
    figures = Results.read(tmp_path / "results.json").load[0].figures
    assert figures.num_failed == 1
    assert math.isnan(figures.itl_p99_ms)


def test_results_of_several_runs_are_joined(results: Results, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    for path in paths:
        results.write(path)
    joined = Results.of_all(paths)
    assert joined.load == results.load * 2
    assert joined.leaks == results.leaks * 2
    assert joined.faults == results.faults * 2


def test_targets_stand_beside_the_disaggregated_figures_alone(results: Results) -> None:
    rows = [row for row in result_rows(results, with_targets=True) if "own ITL p99" in row.name]
    assert [(row.value, row.must, row.verdict) for row in rows] == [(90, 90, "aim"), (90, None, "")]


def test_another_model_is_measured_without_targets(results: Results) -> None:
    rows = result_rows(results, with_targets=False)
    limited = {row.name.strip() for row in rows if row.must is not None}
    assert limited == {
        "failed",
        "failed requests under load",
        "blocks leaked",
        "greedy: 1 prefill + 1 decode = 2 colocated",
        "of them open when it happened",
        "answers equal, token for token",
        "longest time between two tokens",
    }


def test_verdicts_follow_the_figures(results: Results) -> None:
    verdicts = {
        row.name.strip(): row.verdict
        for row in result_rows(results, with_targets=True)
        if row.must is not None
    }
    assert verdicts["idle TTFT, 2048 tokens, disaggregated over colocated"] == "must"
    assert verdicts["first to second token, p50"] == "aim"
    assert verdicts["KV push, median"] == "must"
    assert verdicts["blocks leaked"] == "BELOW"
    assert verdicts["ITL p99"] == "BELOW"


def test_a_hang_may_last_longer_than_a_death_goes_unnoticed(results: Results) -> None:
    results.faults.append(replace(KILLED, is_hang=True, num_equal=39))
    rows = result_rows(results, with_targets=False)
    gaps = [row.verdict for row in rows if row.name.strip() == "longest time between two tokens"]
    assert gaps == ["BELOW", "aim"]
    shares = [row.verdict for row in rows if row.name.strip() == "answers equal, token for token"]
    assert shares == ["aim", "BELOW"]


def test_goodput_is_the_rate_times_the_share(results: Results) -> None:
    found = curves(results, "L", limit_index=0)
    ((rate, good),) = found["1 prefill + 1 decode"]
    assert (rate, good) == pytest.approx((3.0, 2.7))
    assert found["vLLM 0.26, budget 256"][0] == pytest.approx((2, 0.34))
    assert "vLLM 0.26, budget 2048" in curves(results, "S", limit_index=1)


def test_the_peer_stands_beside_ours_at_the_same_rate(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    show_peer(results.load)
    lines = capsys.readouterr().out.splitlines()[3:]
    assert [line.split("|")[2].strip() for line in lines] == [
        "1 prefill + 1 decode",
        "2 colocated",
        "vLLM, 512",
        "vLLM, 256",
    ]
