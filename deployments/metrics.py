"""Prometheus series of one router: what clients saw, and what the workers last reported.

Names and buckets are vLLM's where the meaning is the same, so that its dashboards and autoscalers
work unchanged. `legato_` series are about what only a disaggregated cluster has. All live in a
registry of their own. The callers know no Prometheus: one plain method for each thing that happens.

The stages of a request:   |- admission -|- queue -|- prefill -|- first_token -|   add up to TTFT
                                            |- reserve -|   |- transfer -|         overlap with it
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client import generate_latest as render_registry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from legato.cluster.placement import Decision
from legato.cluster.wire import Report

_TTFT_BUCKETS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_INTER_TOKEN_BUCKETS_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
_E2E_BUCKETS_S = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
_STAGE_BUCKETS_S = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_HANDOVER_GAP_BUCKETS_S = (
    *(0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5),
    *(1.0, 2.0, 5.0, 10.0),
)

TTFT_STAGES = ("admission", "queue", "prefill", "first_token")
HANDOVER_STAGES = ("reserve", "transfer")
HANDOVER_OUTCOMES = ("handed_over", "stayed")
FINISH_REASONS = ("stop", "length", "abort", "error")  # abort: the client left
_WORKER_LABELS = ("model_name", "role", "worker")

# Monotonic totals that workers report, by name: the series they become.
_WORKER_COUNTERS: Mapping[str, tuple[str, str]] = {
    "prefix_cache_queries": ("vllm:prefix_cache_queries", "Tokens looked up in the prefix cache."),
    "prefix_cache_hits": ("vllm:prefix_cache_hits", "Tokens found in the prefix cache."),
    "preemptions": ("vllm:num_preemptions", "Sequences preempted."),
}
_TRANSFER_PREFIX = "transfer_"  # of totals that count what the transfer contract caught, by reason


@dataclass(frozen=True, slots=True)
class FinishedSequence:
    """How one sequence ended, as the client saw it."""

    reason: str  # one of FINISH_REASONS
    num_prompt_tokens: int
    num_generated_tokens: int
    e2e_s: float
    handover: Mapping[str, float]  # seconds by HANDOVER_STAGES; empty if it was not handed over


class ServingMetrics:
    """Everything that one router counts.

    Args:
        model_name: the label of all series.
        max_model_len: bounds the buckets of token counts.
    """

    def __init__(self, model_name: str, max_model_len: int) -> None:
        self._registry = CollectorRegistry()
        self._model_name = model_name
        self._workers = WorkerReports(model_name)
        self._registry.register(self._workers)
        self._tokens = TokenTally(model_name)
        self._registry.register(self._tokens)
        ProcessCollector(registry=self._registry)
        self._create_request_series(_one_two_five(max_model_len))
        self._create_cluster_series()

    def observe_tokens(self, num_tokens: int, gap_s: float | None) -> None:
        """A step's tokens arrived, `gap_s` after those before them (None: they are the first)."""
        self._tokens.observe(num_tokens, gap_s)

    def observe_first_token(self, ttft_s: float, stages: Mapping[str, float]) -> None:
        """Seconds by stage; a stage that the request did not go through may be missing."""
        self._ttft.observe(ttft_s)
        for stage in TTFT_STAGES:
            self._stages[stage].observe(stages.get(stage, 0.0))

    def observe_finish(self, sequence: FinishedSequence) -> None:
        self._finished[sequence.reason].inc()
        self._prompt_tokens.inc(sequence.num_prompt_tokens)
        for stage, seconds in sequence.handover.items():
            self._stages[stage].observe(seconds)
        if sequence.reason in ("stop", "length"):
            self._e2e.observe(sequence.e2e_s)
            self._request_prompt_tokens.observe(sequence.num_prompt_tokens)
            self._request_generation_tokens.observe(sequence.num_generated_tokens)

    def observe_handover(self, outcome: str, num_bytes: int, gap_s: float | None) -> None:
        """A sequence was handed over, or not; `outcome` is one of HANDOVER_OUTCOMES.

        `gap_s` lay between the last token from the one worker and the first from the other.
        """
        self._handovers[outcome].inc()
        self._transfer_bytes.inc(num_bytes)
        if gap_s is not None:
            self._handover_gap.observe(gap_s)

    def observe_failover(self) -> None:
        """A sequence was taken up again on another worker."""
        self._failovers.inc()

    def observe_placement(self, decision: Decision) -> None:
        """Where a sequence was placed."""
        self._placements[decision].inc()

    def observe_placement_error(self, predicted_ttft_s: float, actual_ttft_s: float) -> None:
        """By how much a prediction was wrong, and whether the token came late or early."""
        error_s = actual_ttft_s - predicted_ttft_s
        self._placement_errors["late" if error_s > 0 else "early"].observe(abs(error_s))

    def take_report(self, report: Report) -> None:
        """A worker's newest report replaces the one before."""
        self._workers.take(report)

    def forget_worker(self, worker: str) -> None:
        """The worker is gone, and its series with it."""
        self._workers.forget(worker)

    def worker_reports(self) -> list[Report]:
        """The last report of each worker."""
        return self._workers.reports()

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return render_registry(self._registry)

    def _create_request_series(self, token_buckets: tuple[float, ...]) -> None:
        histogram, counter = self._histogram, self._counter
        self._ttft = histogram(
            "vllm:time_to_first_token_seconds", "Time to first token.", _TTFT_BUCKETS_S
        )
        self._e2e = histogram(
            "vllm:e2e_request_latency_seconds", "Time from arrival to end.", _E2E_BUCKETS_S
        )
        self._request_prompt_tokens = histogram(
            "vllm:request_prompt_tokens", "Prompt tokens of a request.", token_buckets
        )
        self._request_generation_tokens = histogram(
            "vllm:request_generation_tokens", "Generated tokens of a request.", token_buckets
        )
        self._prompt_tokens = counter("vllm:prompt_tokens", "Prompt tokens.")
        self._finished = self._labelled_counters(
            "vllm:request_success", "Requests ended.", "finished_reason", FINISH_REASONS
        )

    def _create_cluster_series(self) -> None:
        self._stages = self._labelled_histograms(
            "legato_request_stage_seconds",
            "Where a request's time went.",
            "stage",
            (*TTFT_STAGES, *HANDOVER_STAGES),
        )
        self._transfer_bytes = self._counter(
            "legato_transfer_bytes", "KV cache bytes that passed between workers."
        )
        self._handovers = self._labelled_counters(
            "legato_handover",
            "Handovers from prefill to decode workers.",
            "outcome",
            HANDOVER_OUTCOMES,
        )
        self._handover_gap = self._histogram(
            "legato_handover_gap_seconds",
            "Time between the prefill worker's last and the decode worker's first token.",
            _HANDOVER_GAP_BUCKETS_S,
        )
        self._failovers = self._counter("legato_failovers", "Sequences resumed elsewhere.")
        self._placements = self._labelled_counters(
            "legato_placement", "Where sequences were placed.", "decision", tuple(Decision)
        )
        self._placement_errors = self._labelled_histograms(
            "legato_placement_ttft_error_seconds",
            "Distance of the actual from the predicted TTFT.",
            "direction",
            ("late", "early"),
        )

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            name, text, ("model_name",), buckets=buckets, registry=self._registry
        ).labels(self._model_name)

    def _labelled_histograms(
        self, name: str, text: str, label: str, values: tuple[str, ...]
    ) -> dict[str, Histogram]:
        histogram = Histogram(
            name,
            text,
            ("model_name", label),
            buckets=_STAGE_BUCKETS_S,
            registry=self._registry,
        )
        return {value: histogram.labels(self._model_name, value) for value in values}

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ("model_name",), registry=self._registry).labels(
            self._model_name
        )

    def _labelled_counters(
        self, name: str, text: str, label: str, values: tuple[str, ...]
    ) -> dict[str, Counter]:
        """All of them from the start: what first appears as 1 has not risen, to Prometheus."""
        counter = Counter(name, text, ("model_name", label), registry=self._registry)
        return {value: counter.labels(self._model_name, value) for value in values}


class TokenTally(Collector):
    """What is counted for every token, in plain numbers: prometheus_client's own counters take a
    lock each, which is a tenth of what a token costs the router. One thread writes."""

    def __init__(self, model_name: str) -> None:
        self._model_name = model_name
        self._num_tokens = 0
        self._gaps = [0] * (len(_INTER_TOKEN_BUCKETS_S) + 1)  # not cumulated
        self._sum_s = 0.0

    def observe(self, num_tokens: int, gap_s: float | None) -> None:
        self._num_tokens += num_tokens
        if gap_s is not None:
            self._gaps[bisect_left(_INTER_TOKEN_BUCKETS_S, gap_s)] += 1
            self._sum_s += gap_s

    def collect(self) -> Iterator[Metric]:
        labels = ("model_name",)
        tokens = CounterMetricFamily("vllm:generation_tokens", "Generated tokens.", labels=labels)
        tokens.add_metric([self._model_name], self._num_tokens)
        yield tokens
        gaps = HistogramMetricFamily(
            "vllm:inter_token_latency_seconds", "Time between steps.", labels=labels
        )
        bounds = [*map(str, _INTER_TOKEN_BUCKETS_S), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(self._gaps)), strict=True))
        gaps.add_metric([self._model_name], buckets, self._sum_s)
        yield gaps


class WorkerReports(Collector):
    """Series of the workers, made from their last reports whenever somebody scrapes."""

    def __init__(self, model_name: str) -> None:
        self._model_name = model_name
        self._reports: dict[str, Report] = {}

    def take(self, report: Report) -> None:
        self._reports[report.worker] = report

    def forget(self, worker: str) -> None:
        self._reports.pop(worker, None)

    def reports(self) -> list[Report]:
        return list(self._reports.values())

    def collect(self) -> Iterator[Metric]:
        reports = self.reports()
        for name, (text, values) in self._gauges(reports).items():
            gauge = GaugeMetricFamily(name, text, labels=_WORKER_LABELS)
            for report, value in zip(reports, values, strict=True):
                gauge.add_metric(self._labels(report), value)
            yield gauge
        for name, (series, text) in _WORKER_COUNTERS.items():
            counter = CounterMetricFamily(series, text, labels=_WORKER_LABELS)
            for report in reports:
                counter.add_metric(self._labels(report), report.counters.get(name, 0.0))
            yield counter
        yield self._transfer_anomalies(reports)
        yield self._cache_config(reports)
        yield self._transports(reports)

    def _gauges(self, reports: list[Report]) -> dict[str, tuple[str, list[float]]]:
        return {
            "vllm:num_requests_running": (
                "Sequences in the running batch.",
                [report.num_running for report in reports],
            ),
            "vllm:num_requests_waiting": (
                "Sequences that wait for the engine.",
                [report.num_waiting for report in reports],
            ),
            "vllm:kv_cache_usage_perc": (
                "Share of KV blocks in use, 0 to 1.",
                [_kv_cache_usage(report) for report in reports],
            ),
            "legato_reserved_blocks": (
                "KV blocks reserved for sequences that are on their way.",
                [report.num_reserved_blocks for report in reports],
            ),
            "legato_quarantined_blocks": (
                "KV blocks that wait until their former writer has stopped.",
                [report.num_quarantined_blocks for report in reports],
            ),
        }

    def _transfer_anomalies(self, reports: list[Report]) -> CounterMetricFamily:
        anomalies = CounterMetricFamily(
            "legato_transfer_anomalies",
            "Transfer messages that were late, repeated, forged or did not match.",
            labels=(*_WORKER_LABELS, "reason"),
        )
        for report in reports:
            for name, value in report.counters.items():
                if name.startswith(_TRANSFER_PREFIX):
                    reason = name.removeprefix(_TRANSFER_PREFIX)
                    anomalies.add_metric([*self._labels(report), reason], value)
        return anomalies

    def _cache_config(self, reports: list[Report]) -> GaugeMetricFamily:
        labels = (*_WORKER_LABELS, "block_size", "num_gpu_blocks")
        info = GaugeMetricFamily("vllm:cache_config_info", "KV cache of a worker.", labels=labels)
        for report in reports:
            sizes = [str(report.block_size), str(report.num_total_blocks)]
            info.add_metric([*self._labels(report), *sizes], 1.0)
        return info

    def _transports(self, reports: list[Report]) -> GaugeMetricFamily:
        labels = (*_WORKER_LABELS, "peer", "transport")
        info = GaugeMetricFamily(
            "legato_kv_transport_info", "How KV blocks go from a worker to a peer.", labels=labels
        )
        for report in reports:
            for peer, transport in report.transports.items():
                info.add_metric([*self._labels(report), peer, transport], 1.0)
        return info

    def _labels(self, report: Report) -> list[str]:
        return [self._model_name, report.role, report.worker]


def _kv_cache_usage(report: Report) -> float:
    if report.num_total_blocks == 0:
        return 0.0
    return 1.0 - report.num_free_blocks / report.num_total_blocks


def _one_two_five(limit: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20, 50, ... up to `limit`."""
    steps = (float(mantissa * 10**power) for power in range(12) for mantissa in (1, 2, 5))
    return tuple(step for step in steps if step <= limit)
