"""The page's files and the activity, over HTTP."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette

from legato.deployments.openai.app import create_app
from legato.deployments.openai.playground import PAGE_HEADERS, Playground
from legato.deployments.openai.service import ApiService
from legato.engine.errors import WorkerLostError
from legato.tests.cluster.reports import make_report
from legato.tests.deployments.openai.harness import (
    ScriptedBackend,
    encode,
    http_client,
    make_app,
    make_service,
)

FIVE_TOKENS = encode("The quick brown fox")
PROMPT = "a secret question"


def _service(backend: ScriptedBackend, api_keys: Sequence[str] = ()) -> ApiService:
    return replace(make_service(backend, api_keys), playground=Playground.load())


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def _activity(app: Starlette, key: str = "") -> Any:
    async with http_client(app) as client:
        answer = await client.get("/activity", headers=_bearer(key))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert PROMPT not in answer.text
    return answer.json()


async def _complete(app: Starlette, key: str = "") -> int:
    async with http_client(app) as client:
        answer = await client.post(
            "/v1/completions", json={"prompt": PROMPT}, headers=_bearer(key), timeout=10
        )
    return answer.status_code


async def test_every_file_comes_with_its_type_and_the_policy() -> None:
    service = _service(ScriptedBackend())
    assert service.playground is not None
    async with http_client(create_app(service)) as client:
        for path, file in service.playground.files.items():
            answer = await client.get(path)
            assert answer.status_code == 200
            assert answer.content == file.content
            assert answer.headers["content-type"].startswith(file.media_type)
            assert PAGE_HEADERS.items() <= dict(answer.headers).items()
        assert (await client.post("/")).status_code == 405
        assert (await client.get("/playground/../auth.py")).status_code == 404


async def test_files_are_public_and_what_they_show_is_not() -> None:
    service = _service(ScriptedBackend(), ["key"])
    assert service.playground is not None
    async with http_client(create_app(service)) as client:
        for path in service.playground.files:
            assert (await client.get(path)).status_code == 200
        for path in ("/activity", "/playground/", "/playground/nope.js", "/playground"):
            assert (await client.get(path)).status_code == 401


@pytest.mark.parametrize("path", ["/", "/playground/page.js", "/activity"])
async def test_without_the_page_there_is_nothing_of_it(path: str) -> None:
    async with http_client(make_app()) as client:
        assert (await client.get(path)).status_code == 404
    async with http_client(make_app(api_keys=["key"])) as client:
        assert (await client.get(path)).status_code == 401


async def test_a_request_is_seen_from_its_admission_on_and_until_its_end() -> None:
    gate = asyncio.Semaphore(0)
    backend = ScriptedBackend(
        FIVE_TOKENS, gate=gate, timeline={"queue": 0.25, "transfer": 0.5, "transfer_bytes": 9.0}
    )
    app = create_app(_service(backend))
    running = asyncio.create_task(_complete(app))
    await backend.arrivals.get()
    [seen] = (await _activity(app))["requests"]
    assert seen["number"] == 1
    assert seen["num_prompt_tokens"] == len(encode(PROMPT))
    assert (seen["ttft_s"], seen["outcome"], seen["stages"]) == (None, None, {})
    for _ in (*FIVE_TOKENS, "end"):
        gate.release()
    assert await running == 200
    [seen] = (await _activity(app))["requests"]
    assert seen["outcome"] == "stop"
    assert seen["num_generated_tokens"] == len(FIVE_TOKENS) + 1
    assert 0 < seen["ttft_s"] <= seen["duration_s"] < 10
    assert seen["stages"]["queue"] == 0.25 and seen["stages"]["transfer_bytes"] == 9
    assert seen == (await _activity(app))["requests"][0]  # its time has stopped


async def test_a_failure_is_an_outcome_and_a_refusal_leaves_no_trace() -> None:
    backend = ScriptedBackend(failure=WorkerLostError("gone"))
    app = create_app(_service(backend))
    assert await _complete(app) == 500
    backend.refusal = WorkerLostError("no")
    assert await _complete(app) == 500
    [seen] = (await _activity(app))["requests"]
    assert seen["outcome"] == "error"


async def test_each_key_sees_its_own_requests_and_all_workers() -> None:
    service = _service(ScriptedBackend(FIVE_TOKENS), ["mine", "theirs"])
    service.metrics.take_report(make_report(worker="decode-0", num_running=3))
    app = create_app(service)
    assert await _complete(app, "theirs") == 200
    assert len((await _activity(app, "theirs"))["requests"]) == 1
    mine = await _activity(app, "mine")
    assert mine["requests"] == []
    [worker] = mine["workers"]
    assert (worker["worker"], worker["role"], worker["num_running"]) == ("decode-0", "decode", 3)
