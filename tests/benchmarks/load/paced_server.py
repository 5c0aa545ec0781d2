"""A server without a model: every answer gets a token when the clock says so.

It stands where a cluster stands, so that the client can be measured for itself: the text of each
event is the time at which it was sent.
"""

import asyncio
import contextlib
import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)


@contextmanager
def paced_server(step_s: float) -> Iterator[int]:
    """Serves in a process of its own; gives its port on the loopback interface."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, step_s), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection, step_s: float) -> None:
    asyncio.run(_PacedServer(step_s).run(pipe))


class _PacedServer:
    """All streams get their tokens in the same step, as from an engine."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._streams: dict[asyncio.StreamWriter, int] = {}  # tokens that are still to be sent

    async def run(self, pipe: Connection) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        due = time.monotonic()
        while True:
            due += self._step_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._step()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            body = json.loads(await reader.readexactly(size))
            writer.write(_HEAD)
            self._streams[writer] = body["max_tokens"]

    def _step(self) -> None:
        for writer, num_left in list(self._streams.items()):
            if writer.is_closing():  # the client has left
                del self._streams[writer]
                continue
            choice = {"index": 0, "text": repr(time.monotonic()), "finish_reason": None}
            events = b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
            if num_left > 1:
                self._streams[writer] = num_left - 1
                writer.write(_chunk(events))
                continue
            del self._streams[writer]
            writer.write(_chunk(events + b"data: [DONE]\n\n") + b"0\r\n\r\n")
            writer.close()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
