"""Server-sent events to one client: the 200 with the first of them, and comments while none come.

Until something is written the response has no status yet, so that an error can still have its own.
"""

import asyncio
import time

from starlette.types import Send

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_KEEP_ALIVE = b": keep-alive\n\n"


class SseWriter:
    """Several tasks may write; each write is whole.

    Args:
        keep_alive_s: of silence before a comment is written.
    """

    def __init__(self, send: Send, keep_alive_s: float) -> None:
        self.is_started = False
        self._send = send
        self._keep_alive_s = keep_alive_s
        self._writing = asyncio.Lock()
        self._ended = False
        self._last_write_s = time.monotonic()

    @property
    def is_silent(self) -> bool:
        """Whether nothing was written for so long that proxies may lose patience."""
        return time.monotonic() - self._last_write_s >= self._keep_alive_s

    async def keep_alive(self) -> None:
        """Writes a comment if it is time for one."""
        if self.is_silent:
            await self.write(_KEEP_ALIVE)

    async def write(self, body: bytes, is_last: bool = False) -> None:
        """Writes events; what comes after the last is dropped."""
        self._last_write_s = time.monotonic()
        async with self._writing:
            if self._ended:
                return
            self._ended = is_last
            if not self.is_started:
                self.is_started = True
                start = {"type": "http.response.start", "status": 200, "headers": _HEADERS}
                await self._send(start)
            await self._send({"type": "http.response.body", "body": body, "more_body": not is_last})
