"""Workers that are killed or stopped under load, and what their clients see of it.

    undisturbed   the requests once: the tokens that are expected
    each fault    the same requests, computed anew; a signal as soon as it hits somebody's request
                      |-- killed: its connections break
                      '-- stopped: they stay open and silent; it is killed when all have answers

It knows requests, signals and metrics; how a cluster notices and recovers is the cluster's matter.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from prometheus_client.samples import Sample

from legato.cluster.placement import Role
from legato.tests.benchmarks.load.client import Pace, RequestTrace
from legato.tests.benchmarks.load.engine_process import engine_process
from legato.tests.benchmarks.load.phases import SETTLE_S, Bench, raise_if_failed
from legato.tests.benchmarks.load.plans import FaultPlan
from legato.tests.benchmarks.load.results import FaultCheck
from legato.tests.benchmarks.load.workload import LoadRequest, saturated

SAMPLING: dict[str, object] = {"temperature": 0.8, "top_p": 0.9, "frequency_penalty": 0.3}
_POLL_S = 0.02  # a push lasts for milliseconds


@dataclass(frozen=True, slots=True)
class Fault:
    """A signal to the engine of one worker."""

    name: str
    role: Role
    number: signal.Signals

    @property
    def is_hang(self) -> bool:
        return self.number is signal.SIGSTOP

    def would_hit(self, samples: Sequence[Sample], concurrency: int) -> bool:
        """Whether prompts are on their way while others decode, or half of the requests decode."""

        def on_decode(name: str) -> float:
            return sum(
                one.value
                for one in samples
                if one.name == name and one.labels["role"] == Role.DECODE
            )

        num_running = on_decode("vllm:num_requests_running")
        if self.role is Role.PREFILL:
            return on_decode("legato_reserved_blocks") > 0 and num_running > 0
        return num_running >= concurrency / 2


FAULTS = (
    Fault("prefill worker killed", Role.PREFILL, signal.SIGKILL),
    Fault("decode worker killed", Role.DECODE, signal.SIGKILL),
    Fault("prefill worker stopped", Role.PREFILL, signal.SIGSTOP),
    Fault("decode worker stopped", Role.DECODE, signal.SIGSTOP),
)


def fault_requests(plan: FaultPlan, seed: int) -> list[LoadRequest]:
    """Greedy and seeded sampling in turns."""
    requests = saturated(plan.workload, plan.num_requests, 0, 0, seed)
    return [
        replace(
            request,
            with_token_ids=True,
            fields=SAMPLING | {"seed": index} if index % 2 else {},
        )
        for index, request in enumerate(requests)
    ]


def check_faults(bench: Bench, plan: FaultPlan) -> Iterator[FaultCheck]:
    """One fault after the other, each on a whole cluster.

    Raises:
        RuntimeError: a request failed without any fault, a fault hit nothing, or a worker was not
            replaced.
    """
    requests = fault_requests(plan, bench.seed)
    calm = bench.drive(_salted(requests, "undisturbed"), Pace(plan.concurrency), 1)
    raise_if_failed(calm)
    expected = [trace.answer.token_ids for trace in calm]
    for fault in FAULTS:
        yield _check(bench, fault, _salted(requests, fault.name), plan.concurrency, expected)


def _salted(requests: Sequence[LoadRequest], salt: str) -> list[LoadRequest]:
    """The same, but nothing of them is found in a prefix cache."""
    return [replace(one, fields={**one.fields, "cache_salt": salt}) for one in requests]


def _check(
    bench: Bench,
    fault: Fault,
    requests: list[LoadRequest],
    concurrency: int,
    expected: Sequence[list[int]],
) -> FaultCheck:
    served = bench.served
    workers = served.workers()
    with bench.counting() as facts:
        with _driving(bench, requests, concurrency) as answers, _engine(bench, fault.role) as send:
            _wait_until_it_hits(bench, fault, concurrency, answers)
            send(fault.number)
            at_s = time.monotonic()
            if fault.is_hang:
                answers.result()  # nobody may need it any more
                send(signal.SIGKILL)
            replaced_s = served.wait_until_replaced(set(workers))
        served.wait_until_idle(SETTLE_S)
    if {workers[lost] for lost in workers.keys() - served.workers()} != {fault.role}:
        raise RuntimeError(f"{fault.name}: another worker was lost")
    traces = answers.result()
    failures = [one.failure for one in traces if one.failure is not None]
    return FaultCheck(
        setup=bench.setup,
        fault=fault.name,
        is_hang=fault.is_hang,
        num_requests=len(traces),
        num_waiting=sum(is_waiting(trace, at_s) for trace in traces),
        num_streaming=sum(is_streaming(trace, at_s) for trace in traces),
        num_equal=sum(map(is_equal, traces, expected)),
        num_failed=len(failures),
        failure=next(iter(failures), None),
        longest_gap_s=max((gap for one in traces for gap in one.gaps_s), default=0.0),
        longest_ttft_s=max((one.ttft_s for one in traces if one.answer.token_times_s), default=0.0),
        replaced_s=replaced_s,
        leaked_blocks=served.num_used_blocks(),
        facts=facts,
    )


def is_waiting(trace: RequestTrace, at_s: float) -> bool:
    """Whether it was sent and had no token at that time."""
    times = trace.answer.token_times_s
    return trace.sent_s < at_s and (not times or at_s < times[0])


def is_streaming(trace: RequestTrace, at_s: float) -> bool:
    """Whether some of its tokens had come at that time, but not all."""
    times = trace.answer.token_times_s
    return bool(times) and times[0] <= at_s < times[-1]


def is_equal(trace: RequestTrace, expected: list[int]) -> bool:
    """A whole answer, token for token."""
    return trace.failure is None and trace.answer.token_ids == expected


@contextmanager
def _driving(
    bench: Bench, requests: list[LoadRequest], concurrency: int
) -> Iterator[Future[list[RequestTrace]]]:
    """Sends the requests meanwhile; their traces are there at the end."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(bench.drive, requests, Pace(concurrency), 1)


@contextmanager
def _engine(bench: Bench, role: Role) -> Iterator[Callable[[signal.Signals], None]]:
    """Sends signals to a worker's engine, which does not outlive the context, stopped or not."""
    assert bench.served.server_pid is not None
    process = os.pidfd_open(engine_process(bench.served.server_pid, role))

    def send(number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # the cluster may have ended it before
            signal.pidfd_send_signal(process, number)

    try:
        yield send
    finally:
        send(signal.SIGKILL)
        os.close(process)


def _wait_until_it_hits(
    bench: Bench, fault: Fault, concurrency: int, answers: Future[list[RequestTrace]]
) -> None:
    while not fault.would_hit(bench.served.samples(), concurrency):
        if answers.done():
            raise RuntimeError(f"{fault.name}: there was no moment at which it would hit a request")
        time.sleep(_POLL_S)
