"""Bidirectional message streams between processes: gRPC carries frames, msgspec reads them.

    send() ... send()  ->  outbox  --one frame for all that is there-->  gRPC  -->  on_message()

A frame holds every message that piled up while the last one was written, so an engine step, or
a burst of requests, costs one write. Either side that hears nothing for `SILENCE_S` takes the
stream for dead: a stopped process keeps its sockets open. Every stream must present the
cluster's secret. What the messages mean is not known here.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
import msgspec

from legato.cluster.wire import MAX_FRAME_BYTES, Message

SILENCE_S = 5.0
HEARTBEAT_S = 1.0
MAX_OUTBOX = 100_000
SECRET_KEY = "x-legato-secret"
SERVICE = "legato.Worker"
OPTIONS = [
    ("grpc.max_send_message_length", MAX_FRAME_BYTES),
    ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
    ("grpc.so_reuseport", 0),
]

M = TypeVar("M")
logger = logging.getLogger(__name__)


class Stream(Generic[M]):
    """One end of a stream: `send` never blocks, `run` delivers what arrives until it ends.

    `M` is the union of the messages that may arrive; anything else ends the stream. Either side
    sends `heartbeat` every `heartbeat_s` seconds, and ends the stream after `silence_s` without
    a word from the other.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[Any]],
        write: Callable[[bytes], Awaitable[None]],
        incoming: type[M] | Any,
        heartbeat: Message,
        heartbeat_s: float = HEARTBEAT_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._read = read
        self._write = write
        self._decoder: msgspec.msgpack.Decoder[list[M]] = msgspec.msgpack.Decoder(
            list[incoming]  # type: ignore[valid-type]  # a type that arrives as a value
        )
        self._encoder = msgspec.msgpack.Encoder()
        self._heartbeat = heartbeat
        self._heartbeat_s = heartbeat_s
        self._silence_s = silence_s
        self._outbox: list[Message] = []
        self._wake = asyncio.Event()
        self._last_heard = time.monotonic()
        self._closed = False

    @property
    def is_open(self) -> bool:
        return not self._closed

    @property
    def quiet_s(self) -> float:
        """Seconds since something came from the other side, or since the stream was made."""
        return time.monotonic() - self._last_heard

    def send(self, message: Message) -> None:
        """Queues a message; after the stream has ended it goes nowhere, as on a broken wire."""
        if self._closed:
            return
        if len(self._outbox) >= MAX_OUTBOX:  # the other side reads nothing: it is gone for us
            self.close()
            return
        self._outbox.append(message)
        self._wake.set()

    def close(self) -> None:
        """Makes `run` return; what is still queued is dropped."""
        self._closed = True
        self._wake.set()

    async def run(self, on_message: Callable[[M], None]) -> None:
        """Delivers messages in order, until the stream ends for whatever reason."""
        tasks = [
            asyncio.ensure_future(step)
            for step in (self._receive(on_message), self._transmit(), self._beat())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if _is_unauthenticated(error):
                    logger.error("stream refused: the other side has another cluster secret")
                elif isinstance(error, msgspec.MsgspecError):
                    logger.error("stream closed: a message breaks the schema: %s", error)
                elif error is not None and not isinstance(error, grpc.aio.AioRpcError | OSError):
                    raise error
        finally:
            self.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive(self, on_message: Callable[[M], None]) -> None:
        while True:
            frame = await self._read()
            if frame is grpc.aio.EOF or self._closed:
                return
            self._last_heard = time.monotonic()
            for message in self._decoder.decode(frame):
                on_message(message)

    async def _transmit(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._closed:
                return
            messages, self._outbox = self._outbox, []
            if messages:
                await self._write_frames(messages)

    async def _write_frames(self, messages: list[Message]) -> None:
        frame = self._encoder.encode(messages)
        if len(frame) <= MAX_FRAME_BYTES or len(messages) == 1:
            await self._write(frame)
            return
        middle = len(messages) // 2
        await self._write_frames(messages[:middle])
        await self._write_frames(messages[middle:])

    async def _beat(self) -> None:
        while self.quiet_s < self._silence_s:
            self.send(self._heartbeat)
            await asyncio.sleep(self._heartbeat_s)


def _is_unauthenticated(error: BaseException | None) -> bool:
    refused = grpc.StatusCode.UNAUTHENTICATED
    return isinstance(error, grpc.aio.AioRpcError) and error.code() is refused


Read = Callable[[], Awaitable[Any]]
Write = Callable[[bytes], Awaitable[None]]
Handler = Callable[[Read, Write], Awaitable[None]]


class StreamServer:
    """The listening end: one handler for each kind of stream, run once for each stream."""

    def __init__(self, secret: str, handlers: dict[str, Handler]) -> None:
        self._secret = secret.encode()
        methods = {name: self._method(handler) for name, handler in handlers.items()}
        self._server = grpc.aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, methods),)
        )

    async def start(self, host: str) -> str:
        """Listens on a free port of `host`; returns "host:port"."""
        port = self._server.add_insecure_port(f"{host}:0")
        await self._server.start()
        return f"{host}:{port}"

    async def stop(self) -> None:
        await self._server.stop(grace=0.5)

    def _method(self, handler: Handler) -> Any:
        async def accept(_requests: Any, context: Any) -> None:
            offered = dict(context.invocation_metadata()).get(SECRET_KEY, "")
            if not hmac.compare_digest(str(offered).encode(), self._secret):
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong cluster secret")
            await handler(context.read, context.write)

        return grpc.stream_stream_rpc_method_handler(accept)


class Connection(Generic[M]):
    """The connecting end: one gRPC channel with one stream on it."""

    def __init__(
        self, address: str, method: str, secret: str, incoming: type[M] | Any, heartbeat: Message
    ) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        call = self._channel.stream_stream(f"/{SERVICE}/{method}")
        self._call = call(metadata=((SECRET_KEY, secret),))
        self.stream: Stream[M] = Stream(self._call.read, self._call.write, incoming, heartbeat)

    async def run(self, on_message: Callable[[M], None]) -> None:
        """As `Stream.run`; afterwards the channel is closed."""
        try:
            await self.stream.run(on_message)
        finally:
            self._call.cancel()
            await self._channel.close()
