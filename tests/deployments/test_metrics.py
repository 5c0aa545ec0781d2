"""Names and values that dashboards and autoscalers rely on."""

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from legato.cluster.placement import Decision
from legato.deployments.metrics import FinishedSequence, ServingMetrics
from legato.tests.cluster.reports import make_report

REPORT = make_report(
    worker="decode-0",
    num_running=3,
    num_waiting=2,
    num_free_blocks=25,
    num_reserved_blocks=5,
    num_quarantined_blocks=1,
    counters={
        "prefix_cache_queries": 10,
        "prefix_cache_hits": 4,
        "preemptions": 2,
        "transfer_forged": 7,
    },
)
PREFILL_REPORT = msgspec.structs.replace(REPORT, worker="prefill-0", role="prefill")


def _values(metrics: ServingMetrics) -> dict[tuple[str, ...], float]:
    """(sample name, label values but for the model's name) -> value."""
    return {
        (sample.name, *(v for k, v in sample.labels.items() if k != "model_name")): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_a_workers_last_report_is_what_is_scraped() -> None:
    metrics = ServingMetrics("m", 1000)
    metrics.take_report(REPORT)
    metrics.take_report(PREFILL_REPORT)
    values = _values(metrics)
    for name, value in {
        "vllm:num_requests_running": 3,
        "vllm:num_requests_waiting": 2,
        "vllm:kv_cache_usage_perc": 0.75,
        "vllm:prefix_cache_queries_total": 10,
        "vllm:prefix_cache_hits_total": 4,
        "vllm:num_preemptions_total": 2,
        "legato_reserved_blocks": 5,
        "legato_quarantined_blocks": 1,
    }.items():
        assert values[(name, "decode", "decode-0")] == value
        assert values[(name, "prefill", "prefill-0")] == value


def test_what_the_transfer_contract_caught_is_counted_by_reason() -> None:
    metrics = ServingMetrics("m", 1000)
    metrics.take_report(REPORT)
    key = ("legato_transfer_anomalies_total", "forged", "decode", "decode-0")
    assert _values(metrics)[key] == 7


def test_the_road_of_kv_is_shown_for_each_pair_while_it_is_open() -> None:
    metrics = ServingMetrics("m", 1000)
    roads = {"decode-0": "cuda_ipc", "decode-1": "nixl"}
    metrics.take_report(msgspec.structs.replace(PREFILL_REPORT, transports=roads))
    metrics.take_report(REPORT)
    values = _values(metrics)
    for peer, transport in roads.items():
        key = ("legato_kv_transport_info", peer, "prefill", transport, "prefill-0")
        assert values[key] == 1
    metrics.take_report(PREFILL_REPORT)
    assert not any(name == "legato_kv_transport_info" for name, *_ in _values(metrics))


def test_a_worker_that_is_gone_leaves_no_series() -> None:
    metrics = ServingMetrics("m", 1000)
    metrics.take_report(REPORT)
    metrics.forget_worker("decode-0")
    metrics.forget_worker("never-seen")
    assert not any("decode-0" in key for key in _values(metrics))


def test_requests_are_counted_by_how_they_ended() -> None:
    metrics = ServingMetrics("m", 1000)
    for reason in ("stop", "stop", "length", "abort"):
        metrics.observe_finish(FinishedSequence(reason, 10, 20, 1.5, {"transfer": 0.2}))
    values = _values(metrics)
    assert values[("vllm:request_success_total", "stop")] == 2
    assert values[("vllm:request_success_total", "length")] == 1
    assert values[("vllm:prompt_tokens_total",)] == 40
    assert values[("vllm:e2e_request_latency_seconds_count",)] == 3
    assert values[("vllm:request_generation_tokens_sum",)] == 60
    assert values[("legato_request_stage_seconds_sum", "transfer")] == pytest.approx(0.8)


def test_times_are_observed_in_the_buckets_that_dashboards_know() -> None:
    metrics = ServingMetrics("m", 1000)
    metrics.observe_tokens(2, None)
    metrics.observe_tokens(1, 0.02)
    metrics.observe_first_token(0.05, {"queue": 0.01, "prefill": 0.03})
    values = _values(metrics)
    assert values[("vllm:generation_tokens_total",)] == 3
    assert values[("vllm:inter_token_latency_seconds_bucket", "0.025")] == 1
    assert values[("vllm:inter_token_latency_seconds_bucket", "0.01")] == 0
    assert values[("vllm:time_to_first_token_seconds_bucket", "0.06")] == 1
    assert values[("vllm:time_to_first_token_seconds_bucket", "2560.0")] == 1
    assert values[("vllm:e2e_request_latency_seconds_bucket", "7680.0")] == 0
    assert values[("vllm:request_prompt_tokens_bucket", "1000.0")] == 0
    assert values[("legato_request_stage_seconds_sum", "prefill")] == 0.03


def test_what_only_a_disaggregated_cluster_has_is_counted() -> None:
    metrics = ServingMetrics("m", 1000)
    metrics.observe_handover("handed_over", 4096, gap_s=0.012)
    metrics.observe_handover("stayed", 0, gap_s=None)
    metrics.observe_failover()
    metrics.observe_placement(Decision.DISAGGREGATED)
    metrics.observe_placement_error(predicted_ttft_s=0.1, actual_ttft_s=0.3)
    values = _values(metrics)
    assert values[("legato_handover_total", "handed_over")] == 1
    assert values[("legato_transfer_bytes_total",)] == 4096
    assert values[("legato_handover_gap_seconds_bucket", "0.01")] == 0
    assert values[("legato_handover_gap_seconds_bucket", "0.015")] == 1
    assert values[("legato_handover_gap_seconds_count",)] == 1
    assert values[("legato_failovers_total",)] == 1
    assert values[("legato_placement_total", "disaggregated")] == 1
    assert values[("legato_placement_ttft_error_seconds_sum", "late")] == pytest.approx(0.2)


def test_two_routers_in_one_process_do_not_share_series() -> None:
    first, second = ServingMetrics("m", 1000), ServingMetrics("m", 1000)
    first.observe_failover()
    assert _values(second)[("legato_failovers_total",)] == 0
