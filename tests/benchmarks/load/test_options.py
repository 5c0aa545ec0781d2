"""The command line becomes a plan."""

from pathlib import Path

import pytest

from legato.tests.benchmarks.disaggregation import serve_words
from legato.tests.benchmarks.load.options import Options, read_options
from legato.tests.benchmarks.load.plans import CPU, DEFAULT


def read(*words: str) -> Options:
    return read_options(words, "a benchmark")


def test_the_default_compares_one_and_one_with_two_colocated() -> None:
    options = read()
    assert options.plan == DEFAULT
    assert [setup.name for setup in options.setups] == [
        "1 prefill + 1 decode",
        "2 colocated, default budget",
        "2 colocated, 512 budget",
    ]
    assert {setup.num_workers for setup in options.setups} == {2}


def test_what_is_said_wins_over_the_preset() -> None:
    options = read("--cpu", "--rates-l", "1,2", "--seconds", "3", "--leak-requests", "7")
    assert options.is_builtin
    assert options.plan.colocated_rates == options.plan.rates
    (long, rates), short = options.plan.rates
    assert (long.name, rates) == ("L", (1.0, 2.0))
    assert short == CPU.rates[1]
    assert (options.plan.duration_s, options.plan.leak.num_requests) == (3.0, 7)


def test_one_side_may_be_left_out() -> None:
    assert [setup.num_prefill for setup in read("--colocated-budgets", "").setups] == [1]
    assert [setup.num_decode for setup in read("--prefill", "0", "--decode", "4").setups] == [4, 4]


def test_a_running_cluster_is_one_setup() -> None:
    assert len(read("--url", "http://127.0.0.1:8000").setups) == 1


def test_clusters_that_have_nothing_to_tell_are_not_started() -> None:
    assert [setup.budget for setup in read("--sections", "greedy,idle").setups] == ["default"] * 2
    assert [setup.num_prefill for setup in read("--sections", "leak").setups] == [1]


def test_the_built_in_model_gets_prompts_that_fit_its_context() -> None:
    plan = read("--builtin").plan
    longest = [sum(load.prompt_tokens[1:] + load.output_tokens[1:]) for load, _ in plan.rates]
    assert max(longest) < 2048
    assert [idle.num_prompt_tokens for idle in plan.idle] == [512, 1024]


def test_an_unknown_section_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read("--sections", "idle,laod")
    assert "laod" in capsys.readouterr().err


def test_faults_are_measured_only_if_they_are_named() -> None:
    assert "faults" not in read().sections
    assert [setup.num_prefill for setup in read("--sections", "faults").setups] == [1]


def test_workers_that_run_elsewhere_are_not_killed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read("--sections", "faults", "--url", "http://127.0.0.1:8000")
    assert "--url" in capsys.readouterr().err


def test_each_setup_is_served_with_its_own_words() -> None:
    options = read("--serve-flags", "--device cpu", "--disaggregated-flags", "--kv-transport auto")
    apart, together, smooth = (
        serve_words(setup, Path("/m"), ("--load-format", "dummy"), options)
        for setup in options.setups
    )
    shared = ["/m", "--load-format", "dummy", "--disable-log-stats"]
    assert apart == [
        *(*shared, "--prefill-replicas", "1", "--decode-replicas", "1"),
        *("--kv-transport", "auto", "--device", "cpu"),
    ]
    assert together == [
        *(*shared, "--prefill-replicas", "0", "--decode-replicas", "2", "--device", "cpu")
    ]
    assert smooth[-4:] == ["--max-num-batched-tokens", "512", "--device", "cpu"]
