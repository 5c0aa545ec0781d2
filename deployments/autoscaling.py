"""How many workers there should be: Serve's autoscaler asks, by what workers say of themselves.

 WorkerReplica.record_autoscaling_stats ──{name: value}──> Serve, averaged over a while
                                                             └─> TowardsTargets ──> replicas

Serve's own policy counts requests that pass through Serve, and none pass to the workers that way.
Delays, limits and rounding are Serve's; see overlays/autoscaled in k8s/ for the configuration.
"""

from collections.abc import Mapping
from typing import Any

from ray.serve.config import AutoscalingContext

from legato.cluster.wire import Report


def load_of(report: Report | None) -> dict[str, float]:
    """What one worker says; nothing before its first report.

    sequences: that run or wait: how long the queue is.
    ttft_s: mean of what prompts waited and took of late; 0 while there are none.
    kv_cache_usage: share of KV blocks in use, 0 to 1.
    itl_s: between two tokens of a sequence of late; 0 while there are none.

    The first two are what prefill workers are scaled by, the others decode workers.
    """
    if report is None or report.num_total_blocks == 0:
        return {}
    num_sequences = report.num_running + report.num_waiting
    return {
        "sequences": float(num_sequences),
        "ttft_s": report.ttft_s if num_sequences else 0.0,
        "kv_cache_usage": 1.0 - report.num_free_blocks / report.num_total_blocks,
        "itl_s": report.step_time_s if report.num_running else 0.0,
    }


class TowardsTargets:
    """As many replicas as bring the mean of each metric to its target: the largest number wins.

    A metric that more replicas cannot lower, such as the TTFT of a prompt that is longer than its
    target, asks for as many as there may be.
    """

    def __init__(self, targets: Mapping[str, float]) -> None:
        """
        Args:
            targets: of some of `load_of`'s names
        """
        for metric, target in targets.items():
            if target <= 0:
                raise ValueError(f"the target of {metric} must be above 0, not {target}")
        self._targets = dict(targets)

    def __call__(self, context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        """The number wanted, which Serve rounds up, and no state."""
        metrics = context.aggregated_metrics or {}
        wanted = [
            sum(metrics[name].values()) / target
            for name, target in self._targets.items()
            if metrics.get(name)
        ]
        if not wanted:  # nobody has reported yet
            return context.target_num_replicas, {}
        return max(wanted), {}
