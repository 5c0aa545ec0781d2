"""The measurements themselves: one function for each, on a cluster that serves already."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from legato.tests.benchmarks.load.client import Pace, RequestTrace, Target, drive
from legato.tests.benchmarks.load.cluster_facts import facts_between
from legato.tests.benchmarks.load.figures import LoadFigures, percentile
from legato.tests.benchmarks.load.results import (
    GreedyAnswers,
    IdlePoint,
    LeakCheck,
    LoadPoint,
    Setup,
)
from legato.tests.benchmarks.load.served import Served
from legato.tests.benchmarks.load.workload import (
    MIXED,
    LoadRequest,
    Workload,
    one_by_one,
    open_loop,
    saturated,
)

SETTLE_S = 30.0  # for blocks to come back after the last request
NUM_IDLE_OUTPUT = 16


@dataclass(frozen=True, slots=True)
class Bench:
    """A cluster, and how it is loaded."""

    setup: Setup
    served: Served
    vocab_size: int
    num_processes: int
    seed: int

    def drive(self, requests: list[LoadRequest], pace: Pace, processes: int) -> list[RequestTrace]:
        target = Target(self.served.host, self.served.port, self.vocab_size)
        return drive(target, requests, pace, processes)

    @contextmanager
    def counting(self) -> Iterator[dict[str, float]]:
        """What the cluster counts meanwhile; filled at the end."""
        facts: dict[str, float] = {}
        before = self.served.samples()
        yield facts
        facts |= facts_between(before, self.served.samples())


def warm_up(bench: Bench, workloads: list[Workload]) -> None:
    """Some requests of each kind, so that workers have met each other and measured their rates."""
    for workload in workloads:
        requests = saturated(workload, 4 * bench.setup.num_workers, 0, 0, bench.seed)
        raise_if_failed(bench.drive(requests, Pace(concurrency=4), 1))


def measure_load(
    bench: Bench, workload: Workload, rate_per_gpu: float, duration_s: float
) -> LoadPoint:
    """One workload at one rate, which counts for each GPU."""
    rate_per_s = rate_per_gpu * bench.setup.num_workers
    requests = open_loop(workload, rate_per_s, duration_s, bench.seed)
    with bench.counting() as facts:
        traces = bench.drive(requests, Pace(), bench.num_processes)
        bench.served.wait_until_idle(SETTLE_S)
    figures = LoadFigures.of(traces)
    return LoadPoint(bench.setup, workload.name, rate_per_gpu, duration_s, figures, facts)


def measure_idle(
    bench: Bench, num_prompt_tokens: int, num_requests: int, pause_s: float
) -> IdlePoint:
    """One request after the other, with pauses."""
    requests = one_by_one(num_requests, num_prompt_tokens, NUM_IDLE_OUTPUT, bench.seed)
    with bench.counting() as facts:
        traces = bench.drive(requests, Pace(pause_s=pause_s), 1)
    raise_if_failed(traces)
    moved = [one.answer.timeline for one in traces if one.answer.timeline.get("transfer")]
    rates = [times["transfer_bytes"] / times["transfer"] / 1e9 for times in moved]
    ttfts = [1000 * one.ttft_s for one in traces if one.answer.token_times_s]
    second_gaps = [1000 * one.gaps_s[0] for one in traces if one.gaps_s]
    return IdlePoint(
        setup=bench.setup,
        num_prompt_tokens=num_prompt_tokens,
        num_requests=num_requests,
        ttft_p50_ms=percentile(ttfts, 50),
        ttft_p99_ms=percentile(ttfts, 99),
        second_gap_p50_ms=percentile(second_gaps, 50),
        second_gap_p99_ms=percentile(second_gaps, 99),
        itl_p50_ms=percentile([1000 * gap for one in traces for gap in one.gaps_s[1:]], 50),
        handed_over_share=100 * len(moved) / num_requests,
        transfer_gb_per_s=percentile(rates, 50) if rates else None,
        facts=facts,
    )


def check_leaks(
    bench: Bench, num_requests: int, concurrency: int, longest_stay_s: float
) -> LeakCheck:
    """Many requests, of which one in five is left by its client at a random moment."""
    requests = saturated(MIXED, num_requests, 0.2, longest_stay_s, bench.seed)
    started = time.monotonic()
    with bench.counting() as facts:
        traces = bench.drive(requests, Pace(concurrency), bench.num_processes)
        seconds = time.monotonic() - started
        bench.served.wait_until_idle(SETTLE_S)
    failures = [one.failure for one in traces if one.failure is not None]
    return LeakCheck(
        setup=bench.setup,
        num_requests=num_requests,
        num_left=sum(one.has_left for one in traces),
        num_failed=len(failures),
        failure=next(iter(failures), None),
        seconds=seconds,
        leaked_blocks=bench.served.num_used_blocks(),
        facts=facts,
    )


def greedy_answers(bench: Bench, num_prompts: int, concurrency: int) -> GreedyAnswers:
    """Token ids of the same prompts, whatever the setup."""
    requests = [
        LoadRequest(
            seed=index,
            num_prompt_tokens=40 * (index + 1),
            num_output_tokens=32,
            with_token_ids=True,
        )
        for index in range(num_prompts)
    ]
    traces = bench.drive(requests, Pace(concurrency), 1)
    raise_if_failed(traces)
    return GreedyAnswers(bench.setup, [one.answer.token_ids for one in traces])


def raise_if_failed(traces: list[RequestTrace]) -> None:
    failures = [one.failure for one in traces if one.failure is not None]
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(traces)} requests failed: {failures[0]}")
