"""Responses that go on with no client, and are asked for, read along and cancelled."""

import asyncio
import dataclasses
import json
from typing import Any

import pytest
from openai.types.responses import Response
from starlette.applications import Starlette

from legato.deployments.openai.app import create_app
from legato.deployments.openai.responses.store import ResponseStore, StoreLimits
from legato.engine.errors import EngineError, OverloadedError
from legato.tests.deployments.openai.harness import (
    MODEL,
    REPLY,
    RawExchange,
    ScriptedBackend,
    decode,
    encode,
    http_client,
    make_app,
    make_service,
    openai_client,
)
from legato.tests.deployments.openai.responses.exchange import (
    PATH,
    get,
    post,
    read_events,
    retrieved,
    streamed,
    whole,
)
from legato.tests.deployments.openai.strict import validated


async def ended(app: Starlette, response_id: str) -> Response:
    for _ in range(10_000):
        response = await retrieved(app, response_id)
        if response.status not in ("queued", "in_progress"):
            return response
        await asyncio.sleep(0)
    raise AssertionError("it does not end")


async def cancelled(app: Starlette, response_id: str) -> Response:
    async with http_client(app) as client:
        answer = await client.post(f"{PATH}/{response_id}/cancel")
    assert answer.status_code == 200, answer.text
    return validated(Response, answer.content)


async def test_it_is_queued_first_and_completed_in_the_end() -> None:
    app = make_app()
    queued = await whole(app, background=True)
    assert queued.status == "queued" and queued.background and queued.output == []
    response = await ended(app, queued.id)
    assert response.status == "completed" and response.output_text == REPLY
    follower = await whole(app, previous_response_id=response.id)
    assert follower.output_text == REPLY


async def test_what_is_there_can_be_seen_while_it_goes_on() -> None:
    gate = asyncio.Semaphore(0)
    app = make_app(ScriptedBackend(gate=gate))
    queued = await whole(app, background=True)
    for _ in range(3):
        gate.release()
    for _ in range(1000):
        response = await retrieved(app, queued.id)
        if response.output_text == decode(encode(REPLY)[:3]):
            break
        await asyncio.sleep(0)
    assert response.status == "in_progress"
    assert response.output[0].status == "in_progress"  # type: ignore[union-attr]
    early = await post(app, previous_response_id=queued.id)
    assert early.json()["error"]["code"] == "previous_response_not_found"
    items = (await get(app, f"{queued.id}/input_items")).json()["data"]
    assert [item["type"] for item in items] == ["message"]
    response = await cancelled(app, queued.id)
    assert response.status == "cancelled"
    assert response.output_text == decode(encode(REPLY)[:3])
    assert await cancelled(app, queued.id) == response == await retrieved(app, queued.id)


async def test_cancelling_frees_the_cluster() -> None:
    backend = ScriptedBackend(gate=asyncio.Semaphore(0))
    app = make_app(backend)
    queued = await whole(app, background=True)
    await backend.arrivals.get()
    assert (await cancelled(app, queued.id)).status == "cancelled"
    assert backend.num_closed_early == 1


async def test_deleting_stops_it_too() -> None:
    backend = ScriptedBackend(gate=asyncio.Semaphore(0))
    app = make_app(backend)
    queued = await whole(app, background=True)
    await backend.arrivals.get()
    async with http_client(app) as client:
        assert (await client.delete(f"{PATH}/{queued.id}")).status_code == 200
    assert (await get(app, queued.id)).status_code == 404
    assert backend.num_closed_early == 1


async def test_a_failure_is_found_in_the_response() -> None:
    app = make_app(ScriptedBackend(failure=EngineError("broken")))
    queued = await whole(app, background=True)
    response = await ended(app, queued.id)
    assert response.status == "failed" and response.error is not None
    assert response.error.message == "broken" and response.output == []


async def test_what_would_only_wait_is_refused_at_once() -> None:
    app = make_app(ScriptedBackend(refusal=OverloadedError("full")))
    assert (await post(app, background=True)).status_code == 503


async def test_a_stream_in_the_background_starts_queued_and_can_be_read_again() -> None:
    app = make_app()
    events = await streamed(app, background=True)
    assert [event.type for event in events[:3]] == [
        "response.created",
        "response.queued",
        "response.in_progress",
    ]
    final = events[-1].response
    assert events[-1].type == "response.completed" and final.output_text == REPLY
    again = read_events((await get(app, f"{final.id}?stream=true")).text)
    assert again == events
    rest = await get(app, f"{final.id}?stream=true&starting_after=4")
    assert read_events(rest.text, 5) == events[5:]
    beyond = await get(app, f"{final.id}?stream=true&starting_after=100000")
    assert beyond.status_code == 200 and beyond.text == ""
    assert (await get(app, f"{final.id}?stream=true&starting_after=a")).status_code == 400


async def test_it_goes_on_when_the_reader_leaves() -> None:
    gate = asyncio.Semaphore(1)
    app = make_app(ScriptedBackend(gate=gate))
    body = {"model": MODEL, "input": "hi", "stream": True, "background": True}
    exchange = RawExchange(app, PATH, json.dumps(body).encode())
    reading = asyncio.create_task(exchange.run())
    await exchange.message()
    first = read_events((await exchange.message())["body"].decode())
    exchange.leave()
    await asyncio.wait_for(reading, 10)
    for _ in range(len(encode(REPLY)) + 1):
        gate.release()
    async with openai_client(app) as client:
        stream = await client.responses.retrieve(first[0].response.id, stream=True)
        events: list[Any] = [event async for event in stream]
    assert events[-1].response.output_text == REPLY


async def test_a_cancelled_stream_ends() -> None:
    app = make_app(ScriptedBackend(gate=asyncio.Semaphore(0)))
    body = {"model": MODEL, "input": "hi", "stream": True, "background": True}
    exchange = RawExchange(app, PATH, json.dumps(body).encode())
    reading = asyncio.create_task(exchange.run())
    await exchange.message()
    opened = read_events((await exchange.message())["body"].decode())
    assert len(opened) == 3
    await cancelled(app, opened[0].response.id)
    await asyncio.wait_for(reading, 10)
    assert [message["body"] for message in exchange.rest()] == [b""]


@pytest.mark.parametrize("fields", [{"background": True}, {"store": True}])
async def test_a_server_that_keeps_nothing_says_so(fields: dict[str, Any]) -> None:
    app = keeping_nothing()
    answer = await post(app, **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(fields))
    assert "keeps no responses" in answer.json()["error"]["message"]
    response = await whole(app)
    assert (await get(app, response.id)).status_code == 404
    follower = await post(app, previous_response_id=response.id)
    assert "keeps no responses" in follower.json()["error"]["message"]


def keeping_nothing() -> Starlette:
    store = ResponseStore(StoreLimits(max_responses=0))
    return create_app(dataclasses.replace(make_service(ScriptedBackend()), responses=store))
