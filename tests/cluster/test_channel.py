"""Streams over real gRPC on the loopback interface; timing is tested on a pair of queues."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import msgspec
import pytest

from legato.cluster.channel import MAX_OUTBOX, Connection, Handler, Stream, StreamServer
from legato.cluster.wire import (
    Cancel,
    Failed,
    FromWorker,
    HandedOver,
    Message,
    Ping,
    Pong,
    StageTimes,
    ToWorker,
)

SECRET = "of this cluster"
Read = Callable[[], Awaitable[Any]]
Write = Callable[[bytes], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """The address of a server with one kind of stream, "Test"."""
    server = StreamServer(SECRET, {"Test": handler})
    address = await server.start("127.0.0.1")
    try:
        async with asyncio.timeout(20):
            yield address
    finally:
        await server.stop()


async def echo(read: Read, write: Write) -> None:
    """Answers each Cancel with a Failed of the same number."""
    stream: Stream[ToWorker] = Stream(read, write, ToWorker, Pong())

    def answer(message: ToWorker) -> None:
        if isinstance(message, Cancel):
            stream.send(Failed(message.request, "lost", ""))

    await stream.run(answer)


class Client:
    """A running connection and what it hears, heartbeats left out."""

    def __init__(self, address: str, secret: str = SECRET) -> None:
        self._connection: Connection[FromWorker] = Connection(
            address, "Test", secret, FromWorker, Ping()
        )
        self.stream = self._connection.stream
        self.heard: asyncio.Queue[FromWorker] = asyncio.Queue()

    def run(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._connection.run(self._on_message))

    def _on_message(self, message: FromWorker) -> None:
        if not isinstance(message, Pong):
            self.heard.put_nowait(message)

    async def ask(self, number: int) -> None:
        """Sends one message and waits for its echo."""
        self.stream.send(Cancel(number))
        assert await self.heard.get() == Failed(number, "lost", "")

    async def stop(self, running: asyncio.Task[None]) -> None:
        self.stream.close()
        await running


async def test_messages_arrive_in_the_order_in_which_they_were_sent() -> None:
    async with serving(echo) as address:
        client = Client(address)
        running = client.run()
        for number in range(500):
            client.stream.send(Cancel(number))
            if number % 50 == 0:
                await asyncio.sleep(0)
        heard = [await client.heard.get() for _ in range(500)]
        assert heard == [Failed(number, "lost", "") for number in range(500)]
        await client.stop(running)


async def test_messages_that_piled_up_travel_in_one_frame() -> None:
    frames: asyncio.Queue[bytes] = asyncio.Queue()

    async def read_one(read: Read, _write: Write) -> None:
        frames.put_nowait(await read())

    async with serving(read_one) as address:
        client = Client(address)
        sent: list[Message] = [Cancel(number) for number in range(100)]
        for message in sent:
            client.stream.send(message)
        running = client.run()
        messages = msgspec.msgpack.decode(await frames.get(), type=list[ToWorker])
        assert [one for one in messages if not isinstance(one, Ping)] == sent
        await running


async def test_a_wrong_secret_is_refused_before_the_handler_runs() -> None:
    accepted = []

    async def handler(_read: Read, _write: Write) -> None:
        accepted.append(True)

    async with serving(handler) as address:
        client = Client(address, secret="of another cluster")
        await client.run()
        assert not client.stream.is_open
        assert not accepted


async def test_a_message_outside_the_schema_closes_its_stream_and_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(echo) as address:
        good, bad = Client(address), Client(address)
        running, ending = good.run(), bad.run()
        await good.ask(1)
        await bad.ask(2)
        bad.stream.send(HandedOver(1, StageTimes()))  # nothing that a worker may be told
        await ending
        assert not bad.stream.is_open
        await good.ask(3)
        assert good.stream.is_open
        await good.stop(running)
    assert "breaks the schema" in caplog.text


@pytest.mark.parametrize("frame", [b"", b"\xc1", msgspec.msgpack.encode({"a": 1})])
async def test_a_frame_that_is_no_list_of_messages_closes_the_stream(frame: bytes) -> None:
    async def write_nonsense(read: Read, write: Write) -> None:
        await write(frame)
        while await read() is not grpc.aio.EOF:
            pass

    async with serving(write_nonsense) as address:
        client = Client(address)
        await client.run()
        assert not client.stream.is_open


async def test_a_server_that_stops_ends_its_streams() -> None:
    server = StreamServer(SECRET, {"Test": echo})
    client = Client(await server.start("127.0.0.1"))
    running = client.run()
    await client.ask(1)
    await server.stop()
    await asyncio.wait_for(running, 10)
    assert not client.stream.is_open


async def test_a_client_that_goes_away_ends_the_servers_side() -> None:
    ended = asyncio.Event()

    async def handler(read: Read, write: Write) -> None:
        try:
            await echo(read, write)
        finally:
            ended.set()

    async with serving(handler) as address:
        client = Client(address)
        running = client.run()
        await client.ask(1)
        await client.stop(running)
        await ended.wait()


async def test_a_peer_that_says_nothing_is_taken_for_dead() -> None:
    ended = asyncio.Event()

    async def handler(read: Read, write: Write) -> None:
        stream: Stream[ToWorker] = Stream(
            read, write, ToWorker, Pong(), heartbeat_s=0.02, silence_s=0.1
        )
        await stream.run(lambda message: None)
        ended.set()

    async with serving(handler) as address:
        Client(address)  # is connected, but never runs
        await ended.wait()


async def test_heartbeats_keep_a_quiet_stream_open() -> None:
    there: asyncio.Queue[bytes] = asyncio.Queue()
    back: asyncio.Queue[bytes] = asyncio.Queue()
    times = {"heartbeat_s": 0.02, "silence_s": 0.2}
    left: Stream[ToWorker] = Stream(back.get, there.put, ToWorker, Ping(), **times)
    right: Stream[ToWorker] = Stream(there.get, back.put, ToWorker, Ping(), **times)
    beats = asyncio.Semaphore(0)
    running = asyncio.gather(
        left.run(lambda message: None), right.run(lambda message: beats.release())
    )
    for _ in range(20):  # twice as long as silence may last
        await asyncio.wait_for(beats.acquire(), 5)
    assert left.is_open
    assert right.is_open
    left.close()
    right.close()
    await running


def _idle_stream() -> Stream[ToWorker]:
    never: asyncio.Queue[bytes] = asyncio.Queue()
    return Stream(never.get, never.put, ToWorker, Ping())


async def test_what_is_sent_after_the_end_goes_nowhere() -> None:
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    never: asyncio.Queue[bytes] = asyncio.Queue()
    stream: Stream[ToWorker] = Stream(never.get, frames.put, ToWorker, Ping())
    stream.close()
    stream.send(Cancel(1))
    await asyncio.wait_for(stream.run(lambda message: None), 5)
    stream.send(Cancel(2))
    assert frames.empty()


async def test_a_stream_whose_peer_reads_nothing_closes_instead_of_growing() -> None:
    stream = _idle_stream()
    for number in range(MAX_OUTBOX):
        stream.send(Cancel(number))
    assert stream.is_open
    stream.send(Cancel(MAX_OUTBOX))
    assert not stream.is_open


async def test_an_error_in_the_receiver_is_not_swallowed() -> None:
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    frames.put_nowait(msgspec.msgpack.encode([Cancel(1)]))
    stream: Stream[ToWorker] = Stream(frames.get, asyncio.Queue[bytes]().put, ToWorker, Ping())

    def fail(message: ToWorker) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(stream.run(fail), 5)
    assert not stream.is_open
