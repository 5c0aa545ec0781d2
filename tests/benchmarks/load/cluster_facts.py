"""What a cluster counted between two looks at its metrics."""

from collections import defaultdict
from collections.abc import Sequence

from prometheus_client.samples import Sample

# Totals, and the label whose values are told apart.
_COUNTERS = {
    "legato_placement_total": "decision",
    "legato_handover_total": "outcome",
    "legato_transfer_anomalies_total": "reason",
    "legato_failovers_total": "",
    "legato_transfer_bytes_total": "",
    "vllm:num_preemptions_total": "role",
}
_STAGES = "legato_request_stage_seconds"


def facts_between(before: Sequence[Sample], after: Sequence[Sample]) -> dict[str, float]:
    """Counts by name, and the mean of each stage of a request in ms; what is zero is left out."""
    then, now = _totals(before), _totals(after)
    grown = {name: value - then.get(name, 0.0) for name, value in now.items()}
    facts = {name: value for name, value in grown.items() if value and not name.startswith(_STAGES)}
    for name, count in grown.items():
        if name.startswith(f"{_STAGES}_count") and count:
            stage = name.rpartition(" ")[2]
            facts[f"mean {stage} ms"] = 1000 * grown[f"{_STAGES}_sum {stage}"] / count
    return facts


def transports(samples: Sequence[Sample]) -> list[str]:
    """The ways by which KV passes between workers, where the metrics name them."""
    return sorted({one.labels["transport"] for one in samples if "transport" in one.labels})


def _totals(samples: Sequence[Sample]) -> dict[str, float]:
    totals: defaultdict[str, float] = defaultdict(float)
    for one in samples:
        if one.name in _COUNTERS:
            totals[f"{one.name} {one.labels.get(_COUNTERS[one.name], '')}".strip()] += one.value
        elif one.name in (f"{_STAGES}_sum", f"{_STAGES}_count"):
            totals[f"{one.name} {one.labels['stage']}"] += one.value
    return dict(totals)
