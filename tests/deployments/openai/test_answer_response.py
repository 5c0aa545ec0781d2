"""Streams to the letter, and what becomes of them when somebody leaves or something breaks."""

import asyncio
import json
from typing import Any

import openai
import pytest

from legato.deployments.openai.message.dialect import Dialect
from legato.deployments.openai.message.reasoning import THINK_TAGS
from legato.deployments.openai.message.tool_syntax import HERMES
from legato.deployments.openai.service import Limits
from legato.engine.errors import NoWorkerError, OverloadedError, WorkerLostError
from legato.tests.deployments.openai.harness import (
    EOS_ID,
    MODEL,
    REPLY,
    RawExchange,
    ScriptedBackend,
    encode,
    http_client,
    make_app,
    openai_client,
)

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
COMPLETION = {"model": MODEL, "prompt": "a", "stream": True, "max_tokens": 60}
CHAT_PATH = "/v1/chat/completions"
PATHS = [(CHAT_PATH, CHAT), ("/v1/completions", COMPLETION)]


async def _events(app: Any, path: str, body: dict[str, Any]) -> list[Any]:
    """The stream's events, decoded; [DONE] is checked and left out."""
    async with http_client(app) as client:
        answer = await client.post(path, json=body)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    blocks = answer.text.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]


async def test_a_chat_stream_opens_with_the_role_and_ends_with_an_empty_delta() -> None:
    chunks = await _events(make_app(), "/v1/chat/completions", CHAT)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"][0]["delta"] == {}
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    texts = [chunk["choices"][0]["delta"]["content"] for chunk in chunks[:-1]]
    assert "".join(texts) == REPLY
    assert len({(c["id"], c["created"], c["model"], c["object"]) for c in chunks}) == 1


@pytest.mark.parametrize(("path", "body"), PATHS)
async def test_every_chunk_has_finish_reason_and_logprobs_and_only_the_last_is_set(
    path: str, body: dict[str, Any]
) -> None:
    chunks = await _events(make_app(), path, body)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert all("finish_reason" in choice and "logprobs" in choice for choice in choices)
    reasons = [choice["finish_reason"] for choice in choices]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]
    assert all("usage" not in chunk for chunk in chunks)


@pytest.mark.parametrize(("path", "body"), PATHS)
async def test_usage_comes_once_and_last_and_is_null_before(
    path: str, body: dict[str, Any]
) -> None:
    wanted = body | {"stream_options": {"include_usage": True}}
    *chunks, last = await _events(make_app(), path, wanted)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == len(encode(REPLY)) + 1


@pytest.mark.parametrize(("path", "body"), PATHS)
@pytest.mark.parametrize("dialect", [Dialect(), Dialect(HERMES, THINK_TAGS["qwen3"])])
async def test_tokens_that_have_no_text_are_told_as_they_come(
    path: str, body: dict[str, Any], dialect: Dialect
) -> None:
    app = make_app(ScriptedBackend((EOS_ID,) * 5), dialect=dialect)
    is_chat = path == CHAT_PATH
    wanted = {"return_token_ids": True, "ignore_eos": True, "logprobs": is_chat or 1}
    chunks = await _events(app, path, body | wanted)
    choices = [chunk["choices"][0] for chunk in chunks][1:-1]
    assert [choice["token_ids"] for choice in choices] == [[EOS_ID]] * 5
    assert not any(choice.get("text") or choice.get("delta") for choice in choices)
    counted = [len(choice["logprobs"]["content" if is_chat else "tokens"]) for choice in choices]
    assert counted == [1] * 5


@pytest.mark.parametrize("options", [{}, {"include_usage": False}, None])
async def test_empty_stream_options_bring_no_usage(options: dict[str, Any] | None) -> None:
    chunks = await _events(make_app(), "/v1/completions", COMPLETION | {"stream_options": options})
    assert all("usage" not in chunk for chunk in chunks)


async def test_continuous_usage_counts_up_on_every_chunk() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = await _events(make_app(), "/v1/completions", COMPLETION | {"stream_options": options})
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts) and counts[0] == 1 and counts[-1] == len(encode(REPLY)) + 1


@pytest.mark.parametrize("tokens_per_event", [1, 3, 100])
@pytest.mark.parametrize("stop", [None, "lazy", "z", "好 🎉 a"])
@pytest.mark.parametrize(("path", "body"), PATHS)
async def test_a_stream_is_the_whole_answer_in_pieces(
    path: str, body: dict[str, Any], stop: str | None, tokens_per_event: int
) -> None:
    app = make_app(ScriptedBackend(tokens_per_event=tokens_per_event))
    is_chat = "messages" in body
    logprobs: dict[str, Any] = {"logprobs": True, "top_logprobs": 1} if is_chat else {"logprobs": 1}
    body = body | logprobs | {"stop": stop, "return_token_ids": True, "n": 2}
    chunks = await _events(app, path, body)
    async with http_client(app) as client:
        whole = (await client.post(path, json=body | {"stream": False})).json()
    for expected in whole["choices"]:
        parts = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == expected["index"]]
        token_ids = [i for part in parts for i in part.get("token_ids", ())]
        assert token_ids == expected["token_ids"]
        assert parts[-1]["finish_reason"] == expected["finish_reason"] == "stop"
        assert parts[-1]["stop_reason"] == expected["stop_reason"] == stop
        assert _joined_text(parts) == (
            expected["message"]["content"] if is_chat else expected["text"]
        )
        key = "content" if is_chat else "tokens"
        with_logprobs = [part["logprobs"] for part in parts if part["logprobs"]]
        assert [e for p in with_logprobs for e in p[key]] == expected["logprobs"][key]
        assert len(expected["logprobs"][key]) == len(token_ids)


def _joined_text(parts: list[dict[str, Any]]) -> str:
    return "".join(p["text"] if "text" in p else p["delta"].get("content", "") for p in parts)


async def test_each_event_of_the_backend_is_written_at_once_and_in_one_piece() -> None:
    gate = asyncio.Semaphore(0)
    exchange = RawExchange(
        make_app(ScriptedBackend(gate=gate)), "/v1/chat/completions", json.dumps(CHAT).encode()
    )
    running = asyncio.create_task(exchange.run())
    gate.release()
    assert (await exchange.message())["type"] == "http.response.start"
    first = (await exchange.message())["body"]
    assert first.count(b"data: ") == 2  # the role, and the first text
    for text in (b" quick", b" brown", b" fox"):
        assert not exchange.rest()
        gate.release()
        body = (await exchange.message())["body"]
        assert body.count(b"data: ") == 1 and text in body
    exchange.leave()
    await running


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_every_generation_at_once(stream: bool) -> None:
    gate = asyncio.Semaphore(1)
    backend = ScriptedBackend(gate=gate)
    body = json.dumps(CHAT | {"stream": stream, "n": 2}).encode()
    app = make_app(backend)
    exchange = RawExchange(app, "/v1/chat/completions", body)
    running = asyncio.create_task(exchange.run())
    for _ in range(2):
        await backend.arrivals.get()
    exchange.leave()
    await asyncio.wait_for(running, 5)
    assert backend.num_closed_early == 2
    if not stream:
        assert not exchange.rest()


async def test_a_silent_stream_is_kept_alive_by_comments() -> None:
    gate = asyncio.Semaphore(0)
    app = make_app(ScriptedBackend(gate=gate), limits=Limits(keep_alive_s=0.01))
    exchange = RawExchange(app, "/v1/chat/completions", json.dumps(CHAT).encode())
    running = asyncio.create_task(exchange.run())
    assert (await exchange.message())["status"] == 200
    assert (await exchange.message())["body"] == b": keep-alive\n\n"
    for _ in range(100):
        gate.release()
    await running
    messages = exchange.rest()
    body = b"".join(message["body"] for message in messages)
    assert body.replace(b": keep-alive\n\n", b"").startswith(b"data: {")
    assert [message["more_body"] for message in messages][-1] is False
    assert all(message["more_body"] for message in messages[:-1])


async def test_a_failure_before_the_first_token_keeps_its_own_status() -> None:
    for stream in (True, False):
        for error, status in (
            (NoWorkerError("no worker is up", 2.5), 503),
            (WorkerLostError("the worker died"), 500),
        ):
            app = make_app(ScriptedBackend(failure=error))
            async with http_client(app) as client:
                answer = await client.post("/v1/chat/completions", json=CHAT | {"stream": stream})
            assert answer.status_code == status
            assert answer.json()["error"]["message"] == str(error)
            assert answer.headers.get("retry-after") == ("3" if status == 503 else None)


async def test_a_failure_in_the_middle_of_a_stream_is_told_before_done() -> None:
    backend = ScriptedBackend(failure=WorkerLostError("the worker died"), tokens_before_failure=2)
    *chunks, last = await _events(make_app(backend), "/v1/chat/completions", CHAT)
    assert chunks[-1]["choices"][0]["delta"] == {"content": " quick"}
    assert last == {
        "error": {
            "message": "the worker died",
            "type": "server_error",
            "param": None,
            "code": None,
        }
    }
    async with openai_client(make_app(backend)) as client:
        stream = await client.chat.completions.create(**CHAT)  # type: ignore[call-overload]
        with pytest.raises(openai.APIError, match="the worker died"):
            [chunk async for chunk in stream]


async def test_an_unexpected_failure_in_a_stream_tells_the_client_nothing_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = ScriptedBackend(failure=ValueError("secret"), tokens_before_failure=1)
    *_, last = await _events(make_app(backend), "/v1/chat/completions", CHAT)
    assert last["error"]["message"] == "internal server error"
    assert "secret" in caplog.text


async def test_one_failed_answer_of_several_ends_the_request_and_the_others() -> None:
    backend = ScriptedBackend(failure=WorkerLostError("gone"), tokens_before_failure=3)
    async with http_client(make_app(backend)) as client:
        body = {"model": MODEL, "prompt": "a", "n": 4, "max_tokens": 60}
        answer = await client.post("/v1/completions", json=body)
    assert answer.status_code == 500
    assert backend.num_closed_early == 4


async def test_a_full_cluster_answers_503_with_the_time_to_wait() -> None:
    app = make_app(ScriptedBackend(refusal=OverloadedError("queues are full", 7)))
    async with http_client(app) as client:
        for path, body in PATHS:
            answer = await client.post(path, json=body)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "7"
            assert answer.json()["error"] == {
                "message": "queues are full",
                "type": "server_error",
                "param": None,
                "code": None,
            }


async def test_each_choice_of_a_chat_stream_opens_with_its_own_role() -> None:
    chunks = await _events(make_app(), "/v1/chat/completions", CHAT | {"n": 3})
    for index in range(3):
        choices = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert choices[0]["delta"] == {"role": "assistant", "content": ""}
        assert choices[-1]["finish_reason"] == "stop"
