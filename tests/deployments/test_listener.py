"""The listener on real sockets, with a real HTTP client."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from legato.deployments.listener import MAX_HEAD_BYTES, Listener, bind
from legato.engine.errors import ConfigError

HOST = "127.0.0.1"


class SlowAnswer:
    """An application whose answer has two halves; the second waits for `release`."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first ", "more_body": True})
        await self.release.wait()
        await send({"type": "http.response.body", "body": b"second", "more_body": False})


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A socket that listens on a port of its own."""
    sock = bind(HOST, 0, shares_port=False)
    sock.listen()
    yield sock
    sock.close()


def test_an_address_in_use_is_one_clear_line(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    with pytest.raises(ConfigError) as caught:
        bind(HOST, port, shares_port=False)
    message = str(caught.value)
    assert f"{HOST}:{port}" in message
    assert "in use" in message
    assert "--port" in message
    assert "\n" not in message


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_one_clear_line(host: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen on {host}:0: .*--host"):
        bind(host, 0, shares_port=False)


def test_replicas_may_share_a_port_if_all_agree_to() -> None:
    with bind(HOST, 0, shares_port=True) as first:
        first.listen()
        port = first.getsockname()[1]
        with bind(HOST, port, shares_port=True) as second:
            second.listen()
        with pytest.raises(ConfigError):
            bind(HOST, port, shares_port=False)


def test_an_ipv6_address_is_one_too() -> None:
    with bind("::1", 0, shares_port=False) as sock:
        assert sock.family is socket.AF_INET6


async def test_it_serves_and_a_running_answer_is_finished_after_the_stop() -> None:
    app = SlowAnswer()
    sock = bind(HOST, 0, shares_port=False)
    url = f"http://{HOST}:{sock.getsockname()[1]}"
    listener = Listener(app, sock)
    assert not listener.is_running
    sock.listen()  # connections wait in the backlog until it runs
    listener.start()
    assert listener.is_running
    async with asyncio.timeout(20), httpx.AsyncClient() as client:
        async with client.stream("GET", url) as response:
            parts = response.aiter_raw()
            assert await anext(parts) == b"first "
            stopping = asyncio.create_task(listener.stop())
            await _until_refused(url)
            assert not stopping.done()
            app.release.set()
            assert await anext(parts) == b"second"
        await stopping
    assert not listener.is_running


@pytest.mark.parametrize(
    ("num_bytes", "is_served"), [(MAX_HEAD_BYTES // 2, True), (1 << 20, False)]
)
async def test_an_endless_head_is_refused_and_a_long_one_is_not(
    num_bytes: int, is_served: bool
) -> None:
    app = SlowAnswer()
    app.release.set()
    sock = bind(HOST, 0, shares_port=False)
    sock.listen()
    listener = Listener(app, sock)
    listener.start()
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        status = b""
        with contextlib.suppress(ConnectionError):  # it may hang up in the middle
            for _ in range(num_bytes >> 10):
                writer.write(b"x" * 1024)
                await writer.drain()
            writer.write(b"\r\n\r\n")
            status = await reader.readline()
        assert status.startswith(b"HTTP/1.1 200") == is_served
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await listener.stop()


async def test_what_is_no_http_is_refused_in_the_shape_of_every_refusal() -> None:
    sock = bind(HOST, 0, shares_port=False)
    sock.listen()
    listener = Listener(SlowAnswer(), sock)
    listener.start()
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(b"ODD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await listener.stop()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert f"content-length: {len(body)}".encode() in head
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


async def test_a_listener_that_never_started_can_be_stopped() -> None:
    sock = bind(HOST, 0, shares_port=False)
    await Listener(SlowAnswer(), sock).stop()
    sock.close()


async def _until_refused(url: str) -> None:
    async with httpx.AsyncClient(timeout=0.2) as client:
        while True:
            try:
                await client.get(url)
            except httpx.ConnectError:
                return
            except httpx.TimeoutException:
                await asyncio.sleep(0)
