"""When a fault is due, what it hits, and what counts as an equal answer."""

import json
from dataclasses import replace

import pytest
from prometheus_client.samples import Sample

from legato.tests.benchmarks.load.faults import (
    FAULTS,
    fault_requests,
    is_equal,
    is_streaming,
    is_waiting,
)
from legato.tests.benchmarks.load.plans import CPU, DEFAULT, FaultPlan
from legato.tests.benchmarks.load.traces import refused, streamed

KILLED_PREFILL, KILLED_DECODE, STOPPED_PREFILL, STOPPED_DECODE = FAULTS
RUNNING = "vllm:num_requests_running"


def gauges(reserved: int, running_on_decode: int) -> list[Sample]:
    return [
        Sample("legato_reserved_blocks", {"role": "decode"}, reserved),
        Sample(RUNNING, {"role": "decode"}, running_on_decode),
        Sample(RUNNING, {"role": "prefill"}, 8),
    ]


def test_a_prefill_worker_is_hit_while_prompts_are_on_their_way_and_others_decode() -> None:
    for fault in (KILLED_PREFILL, STOPPED_PREFILL):
        assert fault.would_hit(gauges(reserved=3, running_on_decode=1), 8)
        assert not fault.would_hit(gauges(reserved=3, running_on_decode=0), 8)
        assert not fault.would_hit(gauges(reserved=0, running_on_decode=8), 8)


def test_a_decode_worker_is_hit_while_half_of_the_requests_are_there() -> None:
    for fault in (KILLED_DECODE, STOPPED_DECODE):
        assert fault.would_hit(gauges(reserved=0, running_on_decode=4), 8)
        assert not fault.would_hit(gauges(reserved=3, running_on_decode=3), 8)


def test_a_stopped_worker_hangs_and_a_killed_one_does_not() -> None:
    assert [fault.is_hang for fault in FAULTS] == [False, False, True, True]


@pytest.mark.parametrize("plan", [CPU.faults, DEFAULT.faults])
def test_every_second_request_is_sampled_with_a_seed_of_its_own(plan: FaultPlan) -> None:
    bodies = [json.loads(one.body(4096)) for one in fault_requests(plan, seed=1)]
    assert len(bodies) == plan.num_requests
    assert {body["temperature"] for body in bodies[::2]} == {0}
    assert {body["temperature"] for body in bodies[1::2]} == {0.8}
    assert len({body["seed"] for body in bodies[1::2]}) == len(bodies) // 2
    assert all(len(body["prompt"]) + body["max_tokens"] < 2048 for body in bodies)


def test_a_request_waits_for_its_first_token_and_streams_until_its_last() -> None:
    trace = streamed(ttft_ms=1000, gaps_ms=[1000, 1000], sent_s=100)  # at 101, 102 and 103 s
    times_s = (99.5, 100.5, 101.5, 102.5, 103.5)
    assert [is_waiting(trace, at_s) for at_s in times_s] == [False, True, False, False, False]
    assert [is_streaming(trace, at_s) for at_s in times_s] == [False, False, True, True, False]


def test_an_answer_is_equal_only_if_it_is_whole() -> None:
    trace = streamed(10, [10, 10])
    trace.answer.token_ids = [5, 6, 7]
    assert is_equal(trace, [5, 6, 7])
    assert not is_equal(trace, [5, 6, 8])
    assert not is_equal(replace(trace, answer=replace(trace.answer, is_complete=False)), [5, 6, 7])
    assert not is_equal(refused(), [])
