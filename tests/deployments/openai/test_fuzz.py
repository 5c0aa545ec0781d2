"""Every endpoint against what hypothesis makes up: no fault of ours, and none of a neighbour's."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from legato.tests.deployments.openai.fuzz_requests import (
    BODIES,
    FuzzRequest,
    fault_in,
    requests_to,
    requests_to_anything,
)
from legato.tests.deployments.openai.harness import (
    REPLY,
    http_client,
    make_embedding_app,
)
from legato.tests.deployments.openai.responses.exchange import THINKING

APP = make_embedding_app(dialect=THINKING)
TIMEOUT_S = 20.0  # for what takes milliseconds: longer is a hang
NEIGHBOUR = {"prompt": "The quick", "temperature": 0, "stream": True, "max_tokens": 200}
QUIET = ("transformers", "legato", "httpx")
FEW = settings(
    max_examples=70,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in QUIET]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


async def answer_to(sent: FuzzRequest) -> httpx.Response:
    async def pieces() -> AsyncIterator[bytes]:
        for chunk in sent.chunks:
            yield chunk

    content = pieces() if len(sent.chunks) > 1 else b"".join(sent.chunks)
    async with http_client(APP) as client:
        return await client.request(sent.method, sent.path, headers=sent.headers, content=content)


async def neighbours_text() -> str:
    """What a stream says that runs at the same time."""
    async with http_client(APP) as client:
        answer = await client.post("/v1/completions", json=NEIGHBOUR)
    events = answer.text.removesuffix("data: [DONE]\n\n").strip().split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    return "".join(chunk["choices"][0]["text"] for chunk in chunks)


async def check(sent: FuzzRequest) -> None:
    answer, text = await asyncio.wait_for(
        asyncio.gather(answer_to(sent), neighbours_text()), TIMEOUT_S
    )
    assert fault_in(sent, answer) is None
    assert text == REPLY


@pytest.mark.parametrize("path", BODIES)
@FEW
@given(data=st.data())
async def test_no_body_is_a_fault_of_ours_or_disturbs_a_neighbour(
    path: str, data: st.DataObject
) -> None:
    await check(data.draw(requests_to(path)))


@FEW
@given(sent=requests_to_anything())
async def test_no_path_method_or_query_is_a_fault_of_ours(sent: FuzzRequest) -> None:
    await check(sent)


def test_every_endpoint_that_takes_a_body_is_tried() -> None:
    posts = {
        route.path
        for route in APP.routes
        if isinstance(route, Route) and "POST" in (route.methods or ())
    }
    assert posts - {"/v1/responses/{response_id}/cancel"} == BODIES.keys()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500, json={"error": {}}),
        httpx.Response(400, json={"detail": "no"}),
        httpx.Response(404, text=""),
        httpx.Response(200, headers={"content-type": "text/event-stream"}, text="data: {}\n\n"),
        httpx.Response(200, headers={"content-type": "text/event-stream"}, text="data: [DO"),
    ],
)
def test_a_wrong_answer_is_noticed(answer: httpx.Response) -> None:
    assert fault_in(FuzzRequest("POST", "/v1/completions"), answer) is not None
