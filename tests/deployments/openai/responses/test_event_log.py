"""Readers of a log that grows."""

import asyncio

from legato.deployments.openai.responses.event_log import EventLog


async def read(log: EventLog, start: int) -> list[bytes]:
    return [bodies async for bodies in log.read(start)]


async def test_readers_get_what_is_there_at_once_and_the_rest_as_it_comes() -> None:
    log = EventLog()
    for event in (b"a", b"b", b"c"):
        log.append(event)
    reading = [asyncio.create_task(read(log, start)) for start in (0, 2, 5)]
    await asyncio.sleep(0)
    for event in (b"d", b"e", b"f"):
        log.append(event)
        for _ in range(3):
            await asyncio.sleep(0)
    log.close()
    assert await asyncio.gather(*reading) == [
        [b"abc", b"d", b"e", b"f"],
        [b"c", b"d", b"e", b"f"],
        [b"f"],
    ]
    assert await read(log, 4) == [b"ef"]
    assert log.num_bytes == 6
