"""How much the load benchmark's own client adds: tokens of a paced server, sent to seen.

Many streams get a token each step, all at once, which is the worst that a cluster does. Client and
server read the same clock; a token's text is the time at which it was sent.
"""

import argparse
import sys
import time

from legato.tests.benchmarks.load.client import Pace, RequestTrace, Target, drive
from legato.tests.benchmarks.load.figures import percentile
from legato.tests.benchmarks.load.paced_server import paced_server
from legato.tests.benchmarks.load.workload import Workload, saturated
from legato.tests.benchmarks.report import Row, show


def delays_ms(traces: list[RequestTrace]) -> list[float]:
    """From sending to seeing, of all tokens."""
    return [
        1000 * (seen_s - float(text))
        for trace in traces
        for seen_s, text in zip(trace.answer.token_times_s, trace.answer.texts, strict=True)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--step-ms", type=float, default=8.0)
    parser.add_argument("--tokens", type=int, default=400, help="of each stream")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    requests = saturated(Workload("", (4, 4), (args.tokens, args.tokens)), args.streams, 0, 0, 1)
    with paced_server(args.step_ms / 1000) as port:
        started = time.monotonic()
        target = Target("127.0.0.1", port, 1000)
        traces = drive(target, requests, Pace(args.streams), args.processes)
        seconds = time.monotonic() - started
    failed = [trace for trace in traces if trace.failure is not None]
    delays = delays_ms(traces)
    load = f"{args.streams} streams, {args.step_ms:g} ms steps"
    rows = [
        Row(f"tokens seen, {load}", len(delays), ""),
        Row("  a second, start and parsing included", len(delays) / seconds, "/s"),
        Row("sent to seen, p50", percentile(delays, 50), "ms"),
        Row("sent to seen, p99", percentile(delays, 99), "ms"),
        Row("sent to seen, longest", max(delays), "ms"),
        Row("broken streams", len(failed), "", 0, 0, False),
    ]
    return 0 if show("The load benchmark's client", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
