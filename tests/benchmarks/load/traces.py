"""Traces made by hand, for the tests of what is computed from them."""

from legato.tests.benchmarks.load.client import RequestTrace
from legato.tests.benchmarks.load.event_stream import StreamedAnswer
from legato.tests.benchmarks.load.workload import LoadRequest


def streamed(ttft_ms: float, gaps_ms: list[float], sent_s: float = 100.0) -> RequestTrace:
    """A whole answer whose tokens came so many ms after each other."""
    times_s = [sent_s + ttft_ms / 1000]
    for gap_ms in gaps_ms:
        times_s.append(times_s[-1] + gap_ms / 1000)
    answer = StreamedAnswer(200, ["x"] * len(times_s), times_s, is_complete=True)
    return RequestTrace(LoadRequest(0, 10, len(times_s)), sent_s, 0.0, answer, has_left=False)


def refused() -> RequestTrace:
    """A request that the server had no room for."""
    answer = StreamedAnswer(503, error="full")
    return RequestTrace(LoadRequest(0, 10, 4), 100.0, 0.002, answer, has_left=False)
