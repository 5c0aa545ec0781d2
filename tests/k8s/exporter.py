"""A router's exporter on which everything that it can count has happened."""

from legato.cluster.placement import Decision, Role
from legato.cluster.transfer.receiver_actions import Anomaly
from legato.deployments.metrics import (
    FINISH_REASONS,
    HANDOVER_OUTCOMES,
    HANDOVER_STAGES,
    TTFT_STAGES,
    FinishedSequence,
    ServingMetrics,
)
from legato.tests.cluster.reports import make_report


def busy_metrics() -> ServingMetrics:
    metrics = ServingMetrics("m", 1000)
    for reason in FINISH_REASONS:
        handover = dict.fromkeys(HANDOVER_STAGES, 0.01)
        metrics.observe_finish(FinishedSequence(reason, 10, 20, 0.5, handover))
    metrics.observe_tokens(1, None)
    metrics.observe_tokens(1, 0.02)
    metrics.observe_first_token(0.1, dict.fromkeys(TTFT_STAGES, 0.025))
    for outcome in HANDOVER_OUTCOMES:
        metrics.observe_handover(outcome, 1 << 20, gap_s=0.02)
    metrics.observe_failover()
    for decision in Decision:
        metrics.observe_placement(decision)
    metrics.observe_placement_error(0.1, 0.2)
    counters = {f"transfer_{anomaly}": 1.0 for anomaly in Anomaly}
    for role in Role:
        ways = {"decode-1": "shared_memory"}
        report = make_report(worker=f"{role}-0", role=role, counters=counters, transports=ways)
        metrics.take_report(report)
    return metrics
