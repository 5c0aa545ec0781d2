"""The stages of a request, as one sequence's record completes them."""

import time

import pytest

from legato.cluster.generation import GenerationEvent
from legato.deployments.metrics import ServingMetrics
from legato.deployments.openai.sequence_record import SequenceRecord


def _sample(metrics: ServingMetrics, series: str) -> float:
    lines = metrics.render().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(series))


def test_the_stages_before_the_first_token_add_up_to_its_time() -> None:
    metrics = ServingMetrics("m", 100)
    record = SequenceRecord(metrics, time.monotonic() - 5, 1, num_prompt_tokens=10)
    timeline = {"queue": 0.5, "prefill": 2.0, "admission": 0.25, "reserve": 9.0}
    record.take(GenerationEvent((1,), num_cached_tokens=3, timeline=timeline))
    stages = ("admission", "queue", "prefill", "first_token")
    ttft_s = _sample(metrics, "vllm:time_to_first_token_seconds_sum")
    assert ttft_s == pytest.approx(5, abs=0.5)
    assert sum(record.timeline[stage] for stage in stages) == pytest.approx(ttft_s)
    assert record.timeline["admission"] == 1.25
    assert record.num_cached_tokens == 3


def test_the_handover_may_become_known_with_the_last_event() -> None:
    metrics = ServingMetrics("m", 100)
    record = SequenceRecord(metrics, time.monotonic(), 0, 10)
    record.take(GenerationEvent((1,), timeline={"queue": 0.5}))
    record.take(
        GenerationEvent((2, 3), timeline={"transfer": 0.25, "transfer_bytes": 9.0, "queue": 7.0})
    )
    record.end("length")
    assert record.timeline["transfer"] == 0.25 and record.timeline["queue"] == 0.5
    assert record.timeline["transfer_bytes"] == 9
    series = 'legato_request_stage_seconds_sum{model_name="m",stage="transfer"}'
    assert _sample(metrics, series) == 0.25
    assert _sample(metrics, "vllm:generation_tokens_total") == 3
    assert _sample(metrics, "vllm:inter_token_latency_seconds_count") == 1


def test_an_aborted_sequence_is_counted_but_not_timed() -> None:
    metrics = ServingMetrics("m", 100)
    SequenceRecord(metrics, time.monotonic(), 0, 10).end("abort")
    series = 'vllm:request_success_total{finished_reason="abort",model_name="m"}'
    assert _sample(metrics, series) == 1
    assert _sample(metrics, "vllm:e2e_request_latency_seconds_count") == 0


def test_a_record_knows_where_its_sequence_was_generated_and_how_it_ended() -> None:
    record = SequenceRecord(ServingMetrics("m", 100), time.monotonic() - 5, 0, 10)
    assert (record.ttft_s, record.workers, record.outcome, record.e2e_s) == (None, [], None, None)
    for worker in ("P", None, "D"):
        record.take(GenerationEvent((1,), worker=worker))
    record.end("stop")
    assert [worker for worker, _ in record.workers] == ["P", "D"]
    assert record.outcome == "stop"
    assert record.ttft_s is not None and record.e2e_s is not None
    times = [record.ttft_s, *(since_s for _, since_s in record.workers), record.e2e_s]
    assert times == sorted(times) == [pytest.approx(5, abs=0.5)] * 4
