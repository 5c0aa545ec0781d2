"""Work ends with its client."""

import asyncio

import pytest
from starlette.types import Message

from legato.deployments.openai.attend import attend


class _Client:
    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}


async def test_finished_work_is_told_and_its_error_is_raised() -> None:
    async def fail() -> None:
        raise KeyError("lost")

    client = _Client()
    assert await attend(asyncio.sleep(0), client.receive, 1)
    with pytest.raises(KeyError, match="lost"):
        await attend(fail(), client.receive, 1)


async def test_a_client_that_leaves_cancels_the_work_and_waits_for_its_end() -> None:
    client = _Client()
    steps: list[str] = []

    async def work() -> None:
        try:
            client.left.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")

    assert not await attend(work(), client.receive, 1)
    assert steps == ["cleaned up"]


async def test_the_server_that_cancels_also_ends_the_work() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    attending = asyncio.create_task(attend(work(), _Client().receive, 1))
    await started.wait()
    attending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attending
    assert ended.is_set()


async def test_idle_time_is_told_until_the_work_is_done() -> None:
    told = asyncio.Semaphore(0)

    async def on_idle() -> None:
        told.release()

    async def work() -> None:
        for _ in range(3):
            await told.acquire()

    assert await attend(work(), _Client().receive, 0.001, on_idle)
