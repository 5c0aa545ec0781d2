"""How many workers there should be: Serve's autoscaler asks, by what workers say of themselves.

 WorkerReplica.record_autoscaling_stats ──{name: value}──> Serve, averaged over a while
                                                             └─> TowardsTarget ──> replicas

Serve's own policy counts requests that pass through Serve, and none pass to the workers that way.
Delays, limits and rounding are Serve's; see overlays/autoscaled in k8s/ for the configuration.
"""

from typing import Any

from ray.serve.config import AutoscalingContext

from legato.cluster.wire import Report


def load_of(report: Report | None) -> dict[str, float]:
    """What one worker says; nothing before its first report.

    sequences: that run or wait, which is what prefill workers are scaled by.
    kv_cache_usage: share of KV blocks in use, 0 to 1, which is what decode workers are scaled by.
    """
    if report is None or report.num_total_blocks == 0:
        return {}
    return {
        "sequences": float(report.num_running + report.num_waiting),
        "kv_cache_usage": 1.0 - report.num_free_blocks / report.num_total_blocks,
    }


class TowardsTarget:
    """As many replicas as bring the mean of `metric` to `target`."""

    def __init__(self, metric: str, target: float) -> None:
        if target <= 0:
            raise ValueError(f"target must be above 0, not {target}")
        self._metric = metric
        self._target = target

    def __call__(self, context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        """The number wanted, which Serve rounds up, and no state."""
        values = (context.aggregated_metrics or {}).get(self._metric)
        if not values:  # nobody has reported yet
            return context.target_num_replicas, {}
        return sum(values.values()) / self._target, {}
