"""What a router has answered leaves nothing behind, beyond what is kept for somebody to ask for."""

import gc
from random import Random
from typing import Any

import httpx

from legato.deployments.openai.message.dialect import Dialect
from legato.deployments.openai.message.reasoning import THINK_TAGS
from legato.deployments.openai.message.tool_syntax import HERMES
from legato.tests.deployments.openai.harness import ScriptedBackend, http_client, make_app

NUM_ROUNDS = 8
NUM_FIRST_ROUNDS = 24  # more than fill what is kept: grammars, sequences for the live view
MAX_NEW_OBJECTS = 60


def _bodies(random: Random) -> list[tuple[str, dict[str, Any], int]]:
    """One of each kind, and new every time."""
    text = f"hi {random.random()}"
    messages = [{"role": "user", "content": text}]
    schema = {"type": "object", "properties": {f"k{random.random()}": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "add", "parameters": schema}}]
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    chat, text_path, responses = "/v1/chat/completions", "/v1/completions", "/v1/responses"
    return [
        (chat, {"messages": messages, "stream": True, "logprobs": True, "n": 2}, 200),
        (chat, {"messages": messages, "tools": tools, "response_format": form}, 200),
        (chat, {"messages": messages, "tools": tools, "tool_choice": text}, 400),
        (text_path, {"prompt": text, "stop": [text[:9]], "stream": True}, 200),
        (text_path, {"prompt": text, "guided_regex": f"({random.random()}"}, 400),
        (responses, {"input": text, "store": False, "stream": True, "tools": []}, 200),
        (responses, {"input": text, "previous_response_id": text}, 400),
        ("/tokenize", {"prompt": text}, 200),
    ]


async def _ask_all(client: httpx.AsyncClient, random: Random, num_rounds: int) -> None:
    for _ in range(num_rounds):
        for path, body, status in _bodies(random):
            answer = await client.post(path, json=body)
            assert answer.status_code == status, (path, answer.text)


async def test_new_requests_leave_no_objects_behind() -> None:
    backend = ScriptedBackend()
    app = make_app(backend, dialect=Dialect(HERMES, THINK_TAGS["qwen3"]))
    random = Random(1)
    counts: list[int] = []
    async with http_client(app) as client:
        for num_rounds in (NUM_FIRST_ROUNDS, NUM_ROUNDS):
            await _ask_all(client, random, num_rounds)
            backend.requests.clear()
            while not backend.arrivals.empty():
                backend.arrivals.get_nowait()
            gc.collect()
            counts.append(len(gc.get_objects()))
    assert counts[1] - counts[0] < MAX_NEW_OBJECTS, counts
