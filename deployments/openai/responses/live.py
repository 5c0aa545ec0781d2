"""Responses in the background that have not ended yet, by owner and id.

It holds the tasks, which nobody else does, and knows nothing of how a run works.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from legato.deployments.openai.responses.event_log import EventLog
from legato.deployments.openai.responses.items import Item
from legato.deployments.openai.responses.response_object import ResponseObject
from legato.engine.errors import OverloadedError

MAX_LIVE = 256  # for each owner


class Run(Protocol):
    input_items: tuple[Item, ...]  # of the whole conversation

    @property
    def response(self) -> ResponseObject:
        """As it stands now."""


@dataclass(frozen=True, slots=True)
class LiveResponse:
    run: Run
    log: EventLog | None  # if it is streamed
    task: asyncio.Task[None]


class LiveResponses:
    def __init__(self, max_live: int = MAX_LIVE) -> None:
        self._max_live = max_live
        self._live: dict[bytes, dict[str, LiveResponse]] = {}

    def check_room(self, owner: bytes) -> None:
        """Raises OverloadedError if the owner has as many as may be."""
        if len(self._live.get(owner, ())) >= self._max_live:
            raise OverloadedError(f"{self._max_live} responses are in the background already")

    def start(
        self, owner: bytes, run: Run, log: EventLog | None, work: Coroutine[Any, Any, None]
    ) -> None:
        """Runs `work`, which is the run's, in a task of its own; it is live until that ends."""
        task = asyncio.create_task(work)
        live = self._live.setdefault(owner, {})
        response_id = run.response.id
        live[response_id] = LiveResponse(run, log, task)
        task.add_done_callback(lambda _: live.pop(response_id))

    def get(self, owner: bytes, response_id: str) -> LiveResponse | None:
        return self._live.get(owner, {}).get(response_id)

    async def cancel(self, owner: bytes, response_id: str) -> None:
        """Stops it, if it is live; it has ended when this returns."""
        if (live := self.get(owner, response_id)) is not None:
            live.task.cancel()
            await asyncio.wait({live.task})
