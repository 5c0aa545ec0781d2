"""The gate around a router's application, met through a real HTTP client."""

import asyncio

import httpx
from starlette.types import Receive, Scope, Send

from legato.deployments.drain_gate import DrainGate


class Answers:
    """Answers /held when `release` is set, everything else at once."""

    def __init__(self) -> None:
        self.entered, self.release = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/held":
            self.entered.set()
            await self.release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})


def _client(gate: DrainGate) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://router")


async def test_a_closed_gate_refuses_new_requests_and_finishes_those_inside() -> None:
    app = Answers()
    gate = DrainGate(app)
    async with _client(gate) as client:
        held = asyncio.create_task(client.post("/held"))
        await app.entered.wait()
        gate.close()
        refused = await client.post("/v1/completions")
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.headers["connection"] == "close"
        assert refused.json()["error"]["type"] == "server_error"
        assert not await gate.wait_until_empty(timeout_s=0)
        app.release.set()
        assert (await held).text == "whole"
        assert await gate.wait_until_empty(timeout_s=10)


async def test_a_closed_gate_is_not_ready_but_alive() -> None:
    gate = DrainGate(Answers())
    gate.close()
    async with _client(gate) as client:
        assert (await client.get("/ready")).status_code == 503
        for path in ("/live", "/health", "/ping", "/metrics"):
            assert (await client.get(path)).status_code == 200


async def test_who_waits_for_an_empty_gate_wakes_when_the_last_one_leaves() -> None:
    app = Answers()
    gate = DrainGate(app)
    async with _client(gate) as client:
        held = asyncio.create_task(client.post("/held"))
        await app.entered.wait()
        empty = asyncio.create_task(gate.wait_until_empty(timeout_s=10))
        await client.get("/models")  # one that comes and goes is not the last
        assert not empty.done()
        app.release.set()
        assert await empty
        await held
