"""What a cluster counted is the difference of two looks at its metrics."""

import pytest
from prometheus_client.samples import Sample

from legato.tests.benchmarks.load.cluster_facts import facts_between, transports

STAGE = "legato_request_stage_seconds"


def look(handed_over: float, transfers: float, seconds: float) -> list[Sample]:
    return [
        Sample("legato_handover_total", {"outcome": "handed_over"}, handed_over),
        Sample("legato_handover_total", {"outcome": "stayed"}, 1.0),
        Sample(f"{STAGE}_count", {"stage": "transfer"}, transfers),
        Sample(f"{STAGE}_sum", {"stage": "transfer"}, seconds),
        Sample("vllm:num_preemptions_total", {"role": "decode", "worker": "a"}, handed_over),
        Sample("vllm:num_preemptions_total", {"role": "decode", "worker": "b"}, 1.0),
        Sample("something_else", {"transport": "shared memory"}, 5.0),
    ]


def test_only_what_has_grown_is_told() -> None:
    assert facts_between(look(2, 2, 0.5), look(5, 4, 0.6)) == {
        "legato_handover_total handed_over": 3.0,
        "vllm:num_preemptions_total decode": 3.0,
        "mean transfer ms": pytest.approx(50.0),
    }


def test_a_cluster_that_had_counted_nothing_yet_counts_from_zero() -> None:
    assert facts_between([], look(2, 0, 0))["legato_handover_total handed_over"] == 2.0


def test_transports_are_named_where_metrics_name_them() -> None:
    assert transports(look(1, 1, 1)) == ["shared memory"]
