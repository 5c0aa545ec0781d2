"""From what workers report to a number of replicas; Serve's autoscaler itself is not run."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.config import AutoscalingPolicy

from legato.deployments.autoscaling import TowardsTarget, load_of
from legato.tests.cluster.reports import make_report


def _context(metrics: dict[str, dict[str, float]] | None) -> Any:
    """What the policy reads of Serve's context, which takes twenty arguments."""
    return SimpleNamespace(aggregated_metrics=metrics, target_num_replicas=3)


def test_a_worker_says_what_it_holds_and_how_full_it_is() -> None:
    report = make_report(num_running=3, num_waiting=2, num_free_blocks=25, num_total_blocks=100)
    assert load_of(report) == {"sequences": 5.0, "kv_cache_usage": 0.75}


def test_a_worker_that_still_loads_says_nothing() -> None:
    assert load_of(None) == {}


def test_there_are_as_many_as_bring_the_mean_to_the_target() -> None:
    metrics = {"kv_cache_usage": {"a": 0.9, "b": 0.5}, "sequences": {"a": 100.0}}
    wanted, state = TowardsTarget("kv_cache_usage", 0.7)(_context(metrics))
    assert wanted == pytest.approx(2.0)
    assert state == {}


@pytest.mark.parametrize("metrics", [None, {}, {"kv_cache_usage": {}}])
def test_without_reports_the_number_stays(metrics: dict[str, dict[str, float]] | None) -> None:
    assert TowardsTarget("kv_cache_usage", 0.7)(_context(metrics))[0] == 3


def test_a_target_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        TowardsTarget("kv_cache_usage", 0)


def test_serve_makes_the_policy_from_a_configuration_file() -> None:
    policy = AutoscalingPolicy(
        policy_function="legato.deployments.autoscaling:TowardsTarget",
        policy_kwargs={"metric": "sequences", "target": 2},
    )
    assert policy.get_policy() is TowardsTarget
    assert TowardsTarget(**policy.policy_kwargs)(_context({"sequences": {"a": 6.0}}))[0] == 3
