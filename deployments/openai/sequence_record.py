"""One sequence's times and counts, as its client sees them, and their way into the metrics."""

import time
from collections.abc import Mapping

from legato.cluster.generation import GenerationEvent
from legato.deployments.metrics import HANDOVER_STAGES, FinishedSequence, ServingMetrics


class SequenceRecord:
    """Kept by the task that follows the sequence.

    Args:
        arrived_s: when the request arrived, on the monotonic clock.
        admission_s: seconds from then until the sequence was given to the backend.
    """

    def __init__(
        self, metrics: ServingMetrics, arrived_s: float, admission_s: float, num_prompt_tokens: int
    ) -> None:
        self.arrived_s = arrived_s
        self.num_prompt_tokens = num_prompt_tokens
        self.ttft_s: float | None = None
        self.workers: list[tuple[str, float]] = []  # that generated it, each from its first token
        self.outcome: str | None = None  # one of the metrics' FINISH_REASONS; None: it goes on
        self.e2e_s: float | None = None
        self.timeline: dict[str, float] = {}  # seconds by stage, and transfer_bytes
        self.num_tokens = 0
        self.num_cached_tokens = 0
        self._metrics = metrics
        self._admission_s = admission_s
        self._last_event_s: float | None = None

    def take(self, event: GenerationEvent) -> None:
        """Notes that a step's tokens arrived now."""
        now_s = time.monotonic()
        gap_s = None if self._last_event_s is None else now_s - self._last_event_s
        if gap_s is None:
            self._take_first(event, now_s)
        elif event.timeline is not None:
            self.timeline |= _pick(event.timeline, (*HANDOVER_STAGES, "transfer_bytes"))
        if event.worker is not None:
            self.workers.append((event.worker, now_s - self.arrived_s))
        self._last_event_s = now_s
        self.num_tokens += len(event.token_ids)
        self._metrics.observe_tokens(len(event.token_ids), gap_s)

    def end(self, reason: str) -> None:
        """Notes the end, for one of the metrics' FINISH_REASONS."""
        self.outcome = reason
        self.e2e_s = time.monotonic() - self.arrived_s
        self._metrics.observe_finish(
            FinishedSequence(
                reason=reason,
                num_prompt_tokens=self.num_prompt_tokens,
                num_generated_tokens=self.num_tokens,
                e2e_s=self.e2e_s,
                handover=_pick(self.timeline, HANDOVER_STAGES),
            )
        )

    def _take_first(self, event: GenerationEvent, now_s: float) -> None:
        """Completes the stages, so that those before the first token add up to its time."""
        self.num_cached_tokens = event.num_cached_tokens or 0
        self.ttft_s = ttft_s = now_s - self.arrived_s
        stages = dict(event.timeline or {})
        stages["admission"] = stages.get("admission", 0.0) + self._admission_s
        known_s = stages["admission"] + stages.get("queue", 0.0) + stages.get("prefill", 0.0)
        stages["first_token"] = max(0.0, ttft_s - known_s)
        self.timeline = stages
        self._metrics.observe_first_token(ttft_s, stages)


def _pick(timeline: Mapping[str, float], names: tuple[str, ...]) -> dict[str, float]:
    return {name: timeline[name] for name in names if name in timeline}
