"""From traces to figures: percentiles, and the share of requests that got the service they want.

A request meets a service level if its first token came in time *and* its own stream was smooth:
percentiles over all tokens would let one request's stalls drown in the others' good ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from legato.tests.benchmarks.load.client import RequestTrace

TTFT_LIMIT_S = 0.5
ITL_LIMITS_MS = (10, 15, 25)


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear between the two nearest ranks; NaN of nothing."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def meets(trace: RequestTrace, itl_limit_ms: float) -> bool:
    """A quick first token and a smooth stream; failed requests meet nothing."""
    if trace.failure is not None or not trace.answer.token_times_s:
        return False
    if trace.ttft_s > TTFT_LIMIT_S:
        return False
    gaps = trace.gaps_s
    return not gaps or 1000 * percentile(gaps, 99) <= itl_limit_ms


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """What one load did to its requests; times in ms, shares in percent."""

    num_requests: int
    num_failed: int
    failure: str | None  # the first one
    ttft_p50_ms: float
    ttft_p99_ms: float
    itl_p50_ms: float
    itl_p99_ms: float
    itl_max_ms: float
    shares: dict[str, float]  # by the limit of a request's own ITL p99, in ms
    output_tokens_per_s: float
    num_joined_tokens: int  # that came in one event with others, as far as can be told
    late_p99_ms: float  # the client itself, when it sent
    late_max_ms: float

    @classmethod
    def of(cls, traces: Sequence[RequestTrace]) -> "LoadFigures":
        whole = [trace for trace in traces if trace.failure is None]
        failures = [trace.failure for trace in traces if trace.failure is not None]
        begun = [trace for trace in whole if trace.answer.token_times_s]
        ttfts = [1000 * trace.ttft_s for trace in begun]
        gaps = [1000 * gap for trace in whole for gap in trace.gaps_s]
        late = [1000 * trace.late_s for trace in traces]
        num_events = sum(len(trace.answer.token_times_s) for trace in whole)
        return cls(
            num_requests=len(traces),
            num_failed=len(failures),
            failure=next(iter(failures), None),
            ttft_p50_ms=percentile(ttfts, 50),
            ttft_p99_ms=percentile(ttfts, 99),
            itl_p50_ms=percentile(gaps, 50),
            itl_p99_ms=percentile(gaps, 99),
            itl_max_ms=max(gaps, default=float("nan")),
            shares={
                str(limit): 100 * sum(meets(one, limit) for one in traces) / max(1, len(traces))
                for limit in ITL_LIMITS_MS
            },
            output_tokens_per_s=num_events / _span_s(begun),
            num_joined_tokens=sum(one.request.num_output_tokens for one in whole) - num_events,
            late_p99_ms=percentile(late, 99),
            late_max_ms=max(late, default=0.0),
        )


def _span_s(begun: Sequence[RequestTrace]) -> float:
    """From the first request to the last token."""
    if not begun:
        return float("inf")
    last_s = max(trace.answer.token_times_s[-1] for trace in begun)
    return last_s - min(trace.sent_s for trace in begun)
