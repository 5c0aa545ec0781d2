"""An HTTP listener of our own on exactly the address that was asked for.

Serve's HAProxy binds every interface, opens statistics and metrics ports beside it and keeps its
files in one fixed place. On one machine nothing needs it: a router replica that listens itself
serves the same application one hop nearer, and nothing else listens. Several replicas on one
machine share the port; the kernel spreads connections over them.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import msgspec
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from legato.deployments.openai.errors import ErrorBody, ErrorEnvelope, error_type
from legato.engine.errors import ConfigError

BACKLOG = 2048
KEEP_ALIVE_S = 75
CLOSE_S = 5
MAX_HEAD_BYTES = 64 << 10
_REFUSAL_HEAD = (
    "HTTP/1.1 400 Bad Request\r\n"
    "content-type: application/json\r\n"
    "content-length: {num_bytes}\r\n"
    "connection: close\r\n\r\n"
)


def bind(host: str, port: int, shares_port: bool) -> socket.socket:
    """A bound TCP socket, not yet listening.

    Raises:
        ConfigError: the address cannot be had; the message says what to do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shares_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --host or --port"
        ) from None
    return sock


class _Server(uvicorn.Server):
    """Leaves the process's signals to the process's owner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _StrictProtocol(HttpToolsProtocol):
    """Refuses an endless head, which the parser would collect until the memory is full.

    What never becomes a request is refused in the shape of all other refusals.
    """

    _in_head = False
    _num_head_bytes = 0  # beyond those that came together with its first one

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._num_head_bytes += len(data)
            if self._num_head_bytes > MAX_HEAD_BYTES:
                self.send_400_response(f"The head is longer than {MAX_HEAD_BYTES} bytes.")
                return
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        body = msgspec.json.encode(ErrorEnvelope(ErrorBody(msg, error_type(400))))
        self.transport.write(_REFUSAL_HEAD.format(num_bytes=len(body)).encode() + body)
        self.transport.close()

    def on_message_begin(self) -> None:
        self._in_head, self._num_head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()


class Listener:
    """Serves an application on one socket, on the running event loop."""

    def __init__(self, app: ASGIApp, sock: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http=_StrictProtocol,
            access_log=False,
            proxy_headers=False,  # whom to believe is said by our own configuration
            log_level="warning",
            lifespan="off",
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=CLOSE_S,
        )
        self._server = _Server(config)
        self._socket = sock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    async def stop(self) -> None:
        """Refuses new connections; answers that run have `CLOSE_S` seconds to finish."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
