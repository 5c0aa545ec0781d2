"""Requests to /v1/responses; their answers are held against the types of the openai package."""

import json
from typing import Any, get_args

import httpx
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel
from starlette.applications import Starlette

from legato.deployments.openai.message.dialect import Dialect
from legato.deployments.openai.message.reasoning import THINK_TAGS
from legato.deployments.openai.message.tool_syntax import HERMES
from legato.tests.deployments.openai.harness import MODEL, http_client
from legato.tests.deployments.openai.strict import validated

PATH = "/v1/responses"
THINKING = Dialect(HERMES, THINK_TAGS["qwen3"])
TOOLS: list[Any] = [
    {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": False},
    {"type": "function", "name": "fox", "description": "jumps"},
]
ARGUMENTS = '{"a": "5 €", "b": 2}'
CALL = f'<tool_call>\n{{"name": "add", "arguments": {ARGUMENTS}}}\n</tool_call>'

_EVENTS: dict[str, type[BaseModel]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind
    for kind in get_args(get_args(ResponseStreamEvent)[0])
}


async def post(app: Starlette, key: str = "", **fields: Any) -> httpx.Response:
    async with http_client(app, headers=authorization(key)) as client:
        return await client.post(PATH, json={"model": MODEL, "input": "hi", **fields})


async def whole(app: Starlette, **fields: Any) -> Response:
    answer = await post(app, **fields)
    assert answer.status_code == 200, answer.text
    return validated(Response, answer.content)


async def get(app: Starlette, path: str, key: str = "") -> httpx.Response:
    async with http_client(app, headers=authorization(key)) as client:
        return await client.get(f"{PATH}/{path}")


async def retrieved(app: Starlette, response_id: str) -> Response:
    answer = await get(app, response_id)
    assert answer.status_code == 200, answer.text
    return validated(Response, answer.content)


async def streamed(app: Starlette, **fields: Any) -> list[Any]:
    """The events of a stream; their numbers and names are checked here."""
    answer = await post(app, stream=True, **fields)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return read_events(answer.text)


def read_events(text: str, first_number: int = 0) -> list[Any]:
    blocks = text.split("\n\n")
    assert blocks.pop() == ""
    events = [_read_event(block) for block in blocks]
    numbers = [event.sequence_number for event in events]
    assert numbers == list(range(first_number, first_number + len(events)))
    return events


def _read_event(block: str) -> Any:
    name, data = block.split("\n")
    data = data.removeprefix("data: ")
    kind = json.loads(data)["type"]
    assert name == f"event: {kind}"
    return validated(_EVENTS[kind], data)


def authorization(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}
