"""From what workers report to a number of replicas, and two pools under a load that comes and goes.

Serve's part is played in a few lines: it asks once a second, averages, rounds up, keeps to its
limits, and is slow to take workers away.
"""

import math
import random
from collections import deque
from typing import Any

import pytest
from ray.serve.config import AutoscalingContext, AutoscalingPolicy

from legato.cluster.wire import Report
from legato.deployments.autoscaling import TowardsTargets, load_of
from legato.tests.cluster.reports import make_report

LIMITS = range(1, 11)  # workers
LOOK_BACK_S, DOWNSCALE_DELAY_S = 30, 60


def _context(metrics: Any, num_replicas: int = 3) -> AutoscalingContext:
    """Replicas go by plain names here: Serve's own names for them are private to it."""
    anonymous: Any = None
    return AutoscalingContext(
        deployment_id=anonymous,
        deployment_name="prefill-worker",
        app_name="legato",
        current_num_replicas=num_replicas,
        target_num_replicas=num_replicas,
        running_replicas=[],
        total_num_requests=0,
        total_queued_requests=0,
        aggregated_metrics=metrics,
        raw_metrics=None,
        capacity_adjusted_min_replicas=LIMITS[0],
        capacity_adjusted_max_replicas=LIMITS[-1],
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=None,
        config=None,
    )


def test_a_worker_says_what_it_holds_and_how_slow_it_is() -> None:
    report = make_report(
        num_running=3,
        num_waiting=2,
        num_free_blocks=25,
        num_total_blocks=100,
        ttft_s=0.4,
        step_time_s=0.02,
    )
    expected = {"sequences": 5.0, "ttft_s": 0.4, "kv_cache_usage": 0.75, "itl_s": 0.02}
    assert load_of(report) == expected


def test_a_worker_at_rest_does_not_dwell_on_what_was() -> None:
    idle = load_of(make_report(num_running=0, num_waiting=0, ttft_s=0.4, step_time_s=0.02))
    assert idle["ttft_s"] == idle["itl_s"] == 0


def test_a_worker_that_still_loads_says_nothing() -> None:
    assert load_of(None) == {}


def test_there_are_as_many_as_bring_the_mean_to_the_target() -> None:
    metrics = {"kv_cache_usage": {"a": 0.9, "b": 0.5}, "sequences": {"a": 100.0}}
    wanted, state = TowardsTargets({"kv_cache_usage": 0.7})(_context(metrics))
    assert wanted == pytest.approx(2.0)
    assert state == {}


def test_of_several_targets_the_one_that_wants_most_decides() -> None:
    policy = TowardsTargets({"kv_cache_usage": 0.5, "itl_s": 0.02, "sequences": 1})
    metrics = {"kv_cache_usage": {"a": 0.5, "b": 0.5}, "itl_s": {"a": 0.04, "b": 0.06}}
    assert policy(_context(metrics))[0] == pytest.approx(5)


@pytest.mark.parametrize("metrics", [None, {}, {"kv_cache_usage": {}}])
def test_without_reports_the_number_stays(metrics: dict[str, dict[str, float]] | None) -> None:
    assert TowardsTargets({"kv_cache_usage": 0.7})(_context(metrics))[0] == 3


def test_a_target_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="kv_cache_usage must be above 0"):
        TowardsTargets({"kv_cache_usage": 0})


class Serve:
    """Asks a policy, made from a configuration as in a file, once a second."""

    def __init__(self, **targets: float) -> None:
        configured = AutoscalingPolicy(
            policy_function="legato.deployments.autoscaling:TowardsTargets",
            policy_kwargs={"targets": targets},
        )
        self._policy = configured.get_policy()(**configured.policy_kwargs)
        self._loads: deque[dict[str, float]] = deque(maxlen=LOOK_BACK_S)
        self._too_many_for_s = 0
        self.num_workers = LIMITS[0]
        self.history: list[int] = []

    def ask(self, report: Report) -> None:
        """Every worker reports the same: routers spread the load."""
        self._loads.append(load_of(report))
        means = {
            name: sum(load[name] for load in self._loads) / len(self._loads)
            for name in self._loads[0]
        }
        workers = list(map(str, range(self.num_workers)))
        metrics = {name: dict.fromkeys(workers, mean) for name, mean in means.items()}
        wanted, _ = self._policy(_context(metrics, self.num_workers))
        target = min(max(math.ceil(wanted), LIMITS[0]), LIMITS[-1])
        self._too_many_for_s = self._too_many_for_s + 1 if target < self.num_workers else 0
        if target > self.num_workers or self._too_many_for_s > DOWNSCALE_DELAY_S:
            self.num_workers = target
            self._too_many_for_s = 0
        self.history.append(self.num_workers)


def prefill_load(serve: Serve, prompts_per_s: float, seconds: int) -> float:
    """Random arrivals of prompts that take a worker 0.4 s; the mean TTFT of the last minute."""
    draw = random.Random(7)
    backlog_s = 0.0  # of work, over all workers
    ttfts_s: deque[float] = deque(maxlen=60)
    for _ in range(seconds):
        num_prompts = sum(draw.random() < prompts_per_s / 100 for _ in range(100))
        backlog_s += 0.4 * num_prompts
        ttfts_s.append(backlog_s / serve.num_workers + 0.4)
        sequences = backlog_s / 0.4 / serve.num_workers
        serve.ask(make_report(num_waiting=math.ceil(sequences), ttft_s=ttfts_s[-1]))
        backlog_s = max(backlog_s - serve.num_workers, 0.0)
    return sum(ttfts_s) / len(ttfts_s)


def decode_load(serve: Serve, num_sequences: int, blocks_each: int, seconds: int) -> Report:
    """Sequences that share workers of 1000 blocks, whose steps are slower the more they batch."""
    for _ in range(seconds):
        batch = math.ceil(num_sequences / serve.num_workers)
        report = make_report(
            num_running=batch,
            num_free_blocks=max(1000 - batch * blocks_each, 0),
            num_total_blocks=1000,
            step_time_s=0.005 + 0.0002 * batch,
        )
        serve.ask(report)
    return report


def test_prefill_workers_follow_the_load_up_and_down_and_keep_the_first_token_quick() -> None:
    serve = Serve(sequences=2, ttft_s=1.0)
    assert prefill_load(serve, 1.5, seconds=120) < 1.5
    assert serve.num_workers <= 2
    assert prefill_load(serve, 9, seconds=600) < 1.0  # 3.6 workers' work
    assert 4 <= serve.num_workers <= 7
    prefill_load(serve, 1.5, seconds=600)
    assert serve.num_workers <= 2


def test_more_than_all_workers_can_do_ends_at_the_limit() -> None:
    serve = Serve(sequences=2, ttft_s=1.0)
    prefill_load(serve, 40, seconds=300)
    assert serve.num_workers == LIMITS[-1]


@pytest.mark.parametrize(
    ("blocks_each", "usage", "itl_s"),
    [(20, (0.5, 0.7), (0.0, 0.02)), (1, (0.0, 0.2), (0.015, 0.02))],
    ids=["long contexts fill the cache", "many short ones slow each other down"],
)
def test_decode_workers_follow_the_cache_and_the_step_time(
    blocks_each: int, usage: tuple[float, float], itl_s: tuple[float, float]
) -> None:
    serve = Serve(kv_cache_usage=0.7, itl_s=0.02)
    decode_load(serve, 10, blocks_each, seconds=60)
    assert serve.num_workers == 1
    num_sequences = 4000 // blocks_each if blocks_each > 1 else 300
    load = load_of(decode_load(serve, num_sequences, blocks_each, seconds=300))
    assert usage[0] <= load["kv_cache_usage"] <= usage[1]
    assert itl_s[0] <= load["itl_s"] <= itl_s[1]
    assert len(set(serve.history[-120:])) == 1, "the number swings"
    decode_load(serve, 10, blocks_each, seconds=300)
    assert serve.num_workers == 1
