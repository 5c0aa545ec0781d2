"""The router's stream to one worker, against a scripted worker on a real gRPC server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from legato.cluster import worker_link
from legato.cluster.channel import Stream, StreamServer
from legato.cluster.engine_actor import WorkerDescription
from legato.cluster.wire import (
    Cancel,
    Failed,
    HandedOver,
    Peer,
    Ping,
    Pong,
    Report,
    Submit,
    Tokens,
    ToWorker,
)
from legato.cluster.worker_link import LOST, WorkerLink
from legato.engine.sampling_params import SamplingParams
from legato.tests.cluster.reports import make_report

SECRET = "secret"
REPORT = make_report()


class Half:
    """Collects what one request is told."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Tokens | HandedOver | Failed] = asyncio.Queue()

    def on_message(self, message: Tokens | HandedOver | Failed) -> None:
        self.messages.put_nowait(message)

    async def next(self) -> Tokens | HandedOver | Failed:
        return await asyncio.wait_for(self.messages.get(), 10)


class Worker:
    """A worker that says what the test has it say."""

    def __init__(self) -> None:
        self.stream: asyncio.Future[Stream[ToWorker]] = asyncio.get_running_loop().create_future()
        self.heard: asyncio.Queue[ToWorker] = asyncio.Queue()

    async def serve(
        self, read: Callable[[], Awaitable[Any]], write: Callable[[bytes], Awaitable[None]]
    ) -> None:
        stream: Stream[ToWorker] = Stream(read, write, ToWorker, Pong())
        self.stream.set_result(stream)
        await stream.run(self._on_message)

    def _on_message(self, message: ToWorker) -> None:
        if not isinstance(message, Ping):
            self.heard.put_nowait(message)

    async def next(self) -> ToWorker:
        return await asyncio.wait_for(self.heard.get(), 10)


class Linked:
    """A link to a scripted worker, and the reports that came over it."""

    def __init__(self, address: str, worker: Worker) -> None:
        description = WorkerDescription(
            worker="w",
            role="decode",
            address=address,
            device="cpu",
            dtype="float32",
            num_blocks=10,
            block_size=16,
            max_model_len=100,
            vocab_size=10,
            load_s=1.0,
        )
        self.worker = worker
        self.reports: asyncio.Queue[Report] = asyncio.Queue()
        self.link = WorkerLink(description, SECRET, self.reports.put_nowait)
        self.running = asyncio.create_task(self.link.run())

    async def report(self) -> None:
        """Has the worker report, and waits for it."""
        (await self.worker.stream).send(REPORT)
        await asyncio.wait_for(self.reports.get(), 10)


@asynccontextmanager
async def linked() -> AsyncIterator[Linked]:
    worker = Worker()
    server = StreamServer(SECRET, {"Generate": worker.serve})
    one = Linked(await server.start("127.0.0.1"), worker)
    try:
        yield one
    finally:
        one.link.close()
        await one.running
        await server.stop()


def submit(request: int, num_tokens: int = 5, prefill_at: Peer | None = None) -> Submit:
    prompt = list(range(num_tokens))
    return Submit(request, prompt, [], SamplingParams(), 0, 0, b"", prefill_at=prefill_at)


def token(request: int) -> Tokens:
    return Tokens(request, 0, [7], [], None, None, None)


async def test_a_worker_is_usable_from_its_first_report_on() -> None:
    async with linked() as one:
        assert not one.link.is_usable
        await one.report()
        assert one.link.is_usable
        assert one.link.report == REPORT
        assert one.link.name == "w"
    assert not one.link.is_usable


async def test_a_worker_of_which_nothing_was_heard_lately_is_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with linked() as one:
        await one.report()
        monkeypatch.setattr(worker_link, "QUIET_S", 1000.0)
        assert not one.link.is_quiet
        monkeypatch.setattr(worker_link, "QUIET_S", 0.0)
        assert one.link.is_quiet and one.link.is_usable


async def test_messages_go_to_the_request_that_they_are_for() -> None:
    async with linked() as one:
        halves = {one.link.next_request(): Half() for _ in range(3)}
        for request, half in halves.items():
            one.link.submit(submit(request), half)
        assert [await one.worker.next() for _ in halves] == [submit(one) for one in halves]
        for request in reversed(halves):
            (await one.worker.stream).send(token(request))
        for request, half in halves.items():
            assert await half.next() == token(request)
            assert half.messages.empty()


async def test_a_request_that_was_dropped_hears_nothing_more() -> None:
    async with linked() as one:
        dropped, kept = Half(), Half()
        one.link.submit(submit(1), dropped)
        one.link.submit(submit(2), kept)
        one.link.drop(1, cancel=True)
        one.link.drop(1, cancel=True)  # the worker is told once
        one.link.drop(9, cancel=True)
        one.link.drop(2, cancel=False)
        one.link.submit(submit(3), kept)
        heard = [await one.worker.next() for _ in range(4)]
        assert heard == [submit(1), submit(2), Cancel(1), submit(3)]
        stream = await one.worker.stream
        stream.send(token(1))
        stream.send(token(3))
        assert await kept.next() == token(3)
        assert dropped.messages.empty()


async def test_every_request_is_told_once_when_the_stream_ends() -> None:
    async with linked() as one:
        halves = [Half(), Half()]
        for request, half in enumerate(halves):
            one.link.submit(submit(request), half)
        (await one.worker.stream).close()
        for request, half in enumerate(halves):
            assert await half.next() == Failed(request, "lost", LOST)
            assert half.messages.empty()
        await one.running


async def test_prompt_tokens_count_until_the_next_report_where_they_are_computed() -> None:
    async with linked() as one:
        one.link.submit(submit(1, num_tokens=30), Half())
        one.link.submit(submit(2, 500, prefill_at=Peer("p", "h:1", b"t" * 16)), Half())
        assert one.link.num_unreported_tokens == 30
        await one.report()
        assert one.link.num_unreported_tokens == 0


async def test_ids_of_requests_are_never_used_twice() -> None:
    async with linked() as one:
        ids = [one.link.next_request() for _ in range(100)]
        assert len(set(ids)) == 100
