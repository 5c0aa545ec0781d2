"""A router's exporter on which everything that it can count has happened."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from legato.cluster.placement import Decision, Role
from legato.deployments.metrics import (
    FINISH_REASONS,
    HANDOVER_STAGES,
    TTFT_STAGES,
    FinishedSequence,
    ServingMetrics,
)
from legato.tests.cluster.reports import make_report

OUTCOMES = ("handed_over", "stayed")


def busy_metrics() -> ServingMetrics:
    metrics = ServingMetrics("m", 1000)
    work(metrics, num_rounds=1)
    return metrics


def work(metrics: ServingMetrics, num_rounds: int) -> None:
    """What is monotonic has risen with the number of rounds."""
    for reason in FINISH_REASONS:
        handover = dict.fromkeys(HANDOVER_STAGES, 0.01)
        metrics.observe_finish(FinishedSequence(reason, 10, 20, 0.5, handover))
    metrics.observe_tokens(1, None)
    metrics.observe_tokens(1, 0.02)
    metrics.observe_first_token(0.1, dict.fromkeys(TTFT_STAGES, 0.025))
    for outcome in OUTCOMES:
        metrics.observe_handover(outcome, 1 << 20)
    metrics.observe_failover()
    for decision in Decision:
        metrics.observe_placement(decision)
    metrics.observe_placement_error(0.1, 0.2)
    metrics.observe_placement_error(0.2, 0.1)
    names = ("prefix_cache_queries", "prefix_cache_hits", "preemptions", "transfer_forged")
    counters = dict.fromkeys(names, float(num_rounds))
    for role in Role:
        metrics.take_report(make_report(worker=f"{role}-0", role=role, counters=counters))


@contextmanager
def served(metrics: ServingMetrics) -> Iterator[int]:
    """Serves it as a router does, and works a little before each scrape; gives the port."""
    rounds = iter(range(1, 1 << 30))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            work(metrics, next(rounds))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(metrics.render())

        def log_message(self, format: str, *args: object) -> None:
            """Not a word."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
