"""Work on behalf of a client, for as long as the client is there."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from starlette.types import Receive


async def attend(
    work: Coroutine[Any, Any, None],
    receive: Receive,
    idle_s: float,
    on_idle: Callable[[], Awaitable[None]] | None = None,
) -> bool:
    """Runs `work` to its end, or cancels it as soon as the client disconnects.

    `on_idle` is awaited every `idle_s` seconds meanwhile. Returns whether the work was finished;
    what it raises is raised here. Whichever way this ends, the work has ended before.
    """
    task = asyncio.ensure_future(work)
    departure = asyncio.ensure_future(_departure(receive))
    try:
        while not (task.done() or departure.done()):
            await asyncio.wait(
                {task, departure}, timeout=idle_s, return_when=asyncio.FIRST_COMPLETED
            )
            if on_idle is not None and not (task.done() or departure.done()):
                await on_idle()
        is_finished = task.done()
    finally:
        task.cancel()
        departure.cancel()
        await asyncio.gather(task, departure, return_exceptions=True)
    if is_finished:
        task.result()
    return is_finished


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
