"""The events of a response in the background, for readers that come, go and come back."""

import asyncio
from collections.abc import AsyncGenerator


class EventLog:
    """Grows until it is closed; an event's number is its place."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self._events: list[bytes] = []
        self._is_closed = False
        self._changed = asyncio.Event()

    def append(self, event: bytes) -> None:
        self._events.append(event)
        self.num_bytes += len(event)
        self._wake()

    def close(self) -> None:
        self._is_closed = True
        self._wake()

    async def read(self, start: int) -> AsyncGenerator[bytes, None]:
        """The events from number `start` on, as they come: each time all that are there."""
        while True:
            if start < len(self._events):
                ready = self._events[start:]
                start += len(ready)
                yield b"".join(ready)
            elif self._is_closed:
                return
            else:
                await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
