"""The client against a server that sends tokens by the clock."""

from collections.abc import Iterator

import pytest

from legato.tests.benchmarks.load.client import Pace, RequestTrace, Target, drive
from legato.tests.benchmarks.load.paced_server import paced_server
from legato.tests.benchmarks.load.workload import LoadRequest, Workload, open_loop

STEP_S = 0.02


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with paced_server(STEP_S) as port:
        yield Target("127.0.0.1", port, 1000)


@pytest.fixture(scope="module")
def traces(target: Target) -> list[RequestTrace]:
    """An open loop, a client that leaves, and requests that wait for their turn."""
    requests = open_loop(Workload("x", (3, 9), (4, 12)), 20, 0.5, seed=1)
    leaving = LoadRequest(7, 5, 500, due_s=0.1, leaves_after_s=0.2)
    return drive(target, [*requests, leaving, *[LoadRequest(8, 5, 3)] * 3], Pace(1, 0.01), 2)


def test_every_token_is_seen_once_and_after_it_was_sent(traces: list[RequestTrace]) -> None:
    for trace in traces:
        if trace.has_left:
            continue
        assert trace.failure is None
        sent_s = [float(text) for text in trace.answer.texts]
        assert len(sent_s) == trace.request.num_output_tokens
        pairs = zip(trace.answer.token_times_s, sent_s, strict=True)
        assert all(seen >= sent for seen, sent in pairs)


def test_requests_go_when_they_are_due_whatever_others_do(traces: list[RequestTrace]) -> None:
    due = [trace for trace in traces if trace.request.due_s is not None]
    starts = {trace.sent_s - trace.late_s - (trace.request.due_s or 0) for trace in due}
    assert max(starts) - min(starts) < 1e-6  # all processes count from the same moment
    assert all(trace.late_s > -0.002 for trace in due)  # event loops round to a millisecond


def test_a_client_that_leaves_keeps_what_it_has_seen(traces: list[RequestTrace]) -> None:
    (left,) = [trace for trace in traces if trace.has_left]
    assert left.failure is None
    assert 0 < len(left.answer.texts) < 500
    assert not left.answer.is_complete


def test_requests_that_wait_their_turn_do_not_overlap(traces: list[RequestTrace]) -> None:
    one, other = [trace for trace in traces if trace.request.due_s is None][::2]
    assert other.sent_s > one.answer.token_times_s[-1]


def test_a_server_that_is_not_there_is_a_failure_of_each_request() -> None:
    (trace,) = drive(Target("127.0.0.1", 1, 1000), [LoadRequest(1, 3, 2)], Pace())
    assert trace.failure is not None
    assert "111" in trace.failure
