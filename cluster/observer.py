"""What the cluster client tells whoever keeps metrics; the cluster knows no metrics library."""

from typing import Protocol

from legato.cluster.placement import Placement
from legato.cluster.wire import Report, StageTimes


class ClusterObserver(Protocol):
    """Told of what happens to sequences and workers; every method returns at once."""

    def on_placement(self, placement: Placement) -> None:
        """A sequence was placed."""

    def on_first_token(self, predicted_ttft_s: float, actual_ttft_s: float) -> None:
        """A sequence's first token came; both times count from its placement."""

    def on_handover(self, outcome: str, times: StageTimes, gap_s: float | None) -> None:
        """A disaggregated sequence ended "handed_over" or "stayed".

        `gap_s` lay between the prefill worker's last and the decode worker's first token; None:
        there were none of both.
        """

    def on_failover(self) -> None:
        """A sequence goes on elsewhere after a loss."""

    def on_report(self, report: Report) -> None:
        """A worker reported its load."""

    def on_worker_lost(self, worker: str) -> None:
        """A worker is gone."""
