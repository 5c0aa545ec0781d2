"""Sends requests and notes when their tokens come, in processes of its own.

    drive() ──spawn──> process 0: requests 0, n, 2n, ...   asyncio, a connection for each request
                  └──> process 1: requests 1, n+1, ...     bytes and times, parsed at the end

All processes count from one moment on the machine's monotonic clock. Connections are as cheap as
Python can make them, and the garbage collector stands still: what is measured is the server.
"""

import asyncio
import gc
import importlib
import multiprocessing
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

from legato.tests.benchmarks.load.event_stream import StreamedAnswer, read_answer
from legato.tests.benchmarks.load.workload import LoadRequest

START_S = 0.3  # for the processes to begin
WRITING_S_PER_TOKEN = 1e-6  # of prompts, all of them beforehand
TIMEOUT_S = 120.0  # of one request


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go."""

    host: str
    port: int
    vocab_size: int  # prompts are drawn from it


@dataclass(frozen=True, slots=True)
class Pace:
    """When requests without a due time go; those with one never wait for others."""

    concurrency: int = 1  # over all processes
    pause_s: float = 0.0  # before each


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """One request and what became of it. Times are on the monotonic clock."""

    request: LoadRequest
    sent_s: float
    late_s: float  # sent after it was due
    answer: StreamedAnswer
    has_left: bool  # the client did, before the end

    @property
    def ttft_s(self) -> float:
        """From sending to the first token; there must be one with a text."""
        return self.answer.token_times_s[0] - self.sent_s

    @property
    def gaps_s(self) -> list[float]:
        """Between one token and the next."""
        times = self.answer.token_times_s
        return [after - before for before, after in pairwise(times)]

    @property
    def failure(self) -> str | None:
        """Why it is no whole answer, though the client waited for one."""
        if self.has_left:
            return None
        if self.answer.error is not None or self.answer.status != 200:
            return f"{self.answer.status} {self.answer.error}"
        return None if self.answer.is_complete else "the stream broke off"


def drive(
    target: Target, requests: Sequence[LoadRequest], pace: Pace, num_processes: int = 1
) -> list[RequestTrace]:
    """Sends all requests and waits for their ends; traces in the order of the requests."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context) as pool:
        list(pool.map(_warm_up, range(num_processes)))
        num_tokens = sum(request.num_prompt_tokens for request in requests)
        writing_s = WRITING_S_PER_TOKEN * num_tokens / num_processes
        start_s = time.monotonic() + START_S + writing_s
        share = Pace(max(1, pace.concurrency // num_processes), pace.pause_s)
        shares = [
            pool.submit(_drive_share, _Share(target, requests[i::num_processes], share, start_s))
            for i in range(num_processes)
        ]
        found = [one.result() for one in shares]
    return [found[i % num_processes][i // num_processes] for i in range(len(requests))]


@dataclass(frozen=True, slots=True)
class _Share:
    """What one process sends."""

    target: Target
    requests: Sequence[LoadRequest]
    pace: Pace
    start_s: float


def _warm_up(index: int) -> None:
    """Has each process started; the pause keeps one of them from doing it for all."""
    time.sleep(0.2)


def _drive_share(share: _Share) -> list[RequestTrace]:
    exchanges = [_Exchange(share.target, request) for request in share.requests]
    gc.freeze()
    gc.disable()
    try:
        _run(_send_all(share, exchanges))
    finally:
        gc.enable()
    return [one.trace() for one in exchanges]


def _run(main: Coroutine[Any, Any, None]) -> None:
    """On uvloop where it is installed: it halves what an event costs."""
    try:
        run: Callable[[Coroutine[Any, Any, None]], None] = importlib.import_module("uvloop").run
    except ImportError:
        run = asyncio.run
    run(main)


async def _send_all(share: _Share, exchanges: Sequence["_Exchange"]) -> None:
    waiting = iter([one for one in exchanges if one.request.due_s is None])

    async def take_turns() -> None:
        for one in waiting:
            await asyncio.sleep(share.pace.pause_s)
            await one.run(time.monotonic())

    async def when_due(one: "_Exchange", due_s: float) -> None:
        await asyncio.sleep(due_s - time.monotonic())
        await one.run(due_s)

    await asyncio.sleep(share.start_s - time.monotonic())
    await asyncio.gather(
        *(take_turns() for _ in range(share.pace.concurrency)),
        *(
            when_due(one, share.start_s + one.request.due_s)
            for one in exchanges
            if one.request.due_s is not None
        ),
    )


class _Exchange(asyncio.Protocol):
    """One request on one connection."""

    def __init__(self, target: Target, request: LoadRequest) -> None:
        self.request = request
        self._target = target
        self._message = _message(target, request)
        self._sent_s = self._late_s = 0.0
        self._has_left = False
        self._failure: str | None = None
        self._reads: list[tuple[float, bytes]] = []
        self._transport: asyncio.Transport | None = None
        self._ended: asyncio.Future[None] | None = None

    async def run(self, due_s: float) -> None:
        """From sending to the end of the answer, or until the client leaves."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._sent_s = time.monotonic()
        self._late_s = self._sent_s - due_s
        stay_s = self.request.leaves_after_s
        try:
            await loop.create_connection(lambda: self, self._target.host, self._target.port)
            await asyncio.wait_for(self._ended, TIMEOUT_S if stay_s is None else stay_s)
        except TimeoutError:
            self._has_left = stay_s is not None
            self._failure = None if self._has_left else "no end in time"
        except OSError as error:
            self._failure = str(error)
        finally:
            if self._transport is not None:
                self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        self._reads.append((time.monotonic(), data))

    def connection_lost(self, error: Exception | None) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def trace(self) -> RequestTrace:
        """Parses what came."""
        answer = read_answer(self._reads)
        answer.error = self._failure or answer.error
        return RequestTrace(self.request, self._sent_s, self._late_s, answer, self._has_left)


def _message(target: Target, request: LoadRequest) -> bytes:
    body = request.body(target.vocab_size)
    head = (
        "POST /v1/completions HTTP/1.1\r\n"
        f"Host: {target.host}:{target.port}\r\n"
        "Content-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
