"""Streamed responses, event for event."""

import asyncio
import json
from itertools import groupby
from typing import Any

import pytest

from legato.deployments.openai.service import Limits
from legato.engine.errors import ContextLengthError, EngineError, LegatoError
from legato.tests.deployments.openai.harness import (
    MODEL,
    REPLY,
    RawExchange,
    ScriptedBackend,
    encode,
    make_app,
    openai_client,
)
from legato.tests.deployments.openai.responses.exchange import (
    ARGUMENTS,
    CALL,
    PATH,
    THINKING,
    TOOLS,
    get,
    read_events,
    retrieved,
    streamed,
)

MESSAGE = [
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]
THOUGHT = [name.replace("output_text", "reasoning_text") for name in MESSAGE]
SUMMARY = [
    "response.output_item.added",
    "response.reasoning_summary_part.added",
    "response.reasoning_summary_text.delta",
    "response.reasoning_summary_text.done",
    "response.reasoning_summary_part.done",
    "response.output_item.done",
]
CALLED = [
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
]
OPENING = ["response.created", "response.in_progress"]
BODY = {"model": MODEL, "input": "hi", "stream": True}


def names(events: list[Any]) -> list[str]:
    """The events' types; those that repeat count once."""
    return [name for name, _ in groupby(event.type for event in events)]


def deltas(events: list[Any], name: str) -> str:
    return "".join(event.delta for event in events if event.type == f"response.{name}.delta")


async def test_a_text_is_told_from_created_to_completed() -> None:
    events = await streamed(make_app())
    assert names(events) == [*OPENING, *MESSAGE, "response.completed"]
    assert deltas(events, "output_text") == REPLY
    assert [events[-i].type for i in (4, 3)] == [MESSAGE[3], MESSAGE[4]]
    text_done, part_done, item_done, completed = events[-4:]
    assert text_done.text == part_done.part.text == REPLY
    assert completed.response.output == [item_done.item]
    assert completed.response.status == "completed"
    assert completed.response.usage.output_tokens == len(encode(REPLY)) + 1
    created, in_progress, added = events[:3]
    assert created.response.status == in_progress.response.status == "in_progress"
    assert created.response.output == [] and created.response.usage is None
    assert {event.response.id for event in events if "response" in event.model_fields_set} == {
        completed.response.id
    }
    assert added.item.status == "in_progress" and added.item.content == []
    assert {event.item_id for event in events[3:-2]} == {added.item.id} == {item_done.item.id}


@pytest.mark.parametrize("tokens_per_event", [1, 4, 200])
async def test_thoughts_texts_and_calls_follow_each_other(tokens_per_event: int) -> None:
    reply = f"<think>\nThe fox.</think>Sure.\n{CALL}\n{CALL}"
    backend = ScriptedBackend(encode(reply), tokens_per_event)
    app = make_app(backend, dialect=THINKING)
    events = await streamed(app, tools=TOOLS)
    assert names(events) == [
        *(*OPENING, *THOUGHT, *MESSAGE, *CALLED, *CALLED, "response.completed")
    ]
    assert deltas(events, "reasoning_text") == "The fox."
    assert deltas(events, "output_text") == "Sure."
    assert deltas(events, "function_call_arguments") == ARGUMENTS * 2
    added = [event for event in events if event.type == "response.output_item.added"]
    done = [event for event in events if event.type == "response.output_item.done"]
    assert [event.output_index for event in added] == [0, 1, 2, 3]
    assert [event.item.id for event in added] == [event.item.id for event in done]
    assert [event.item for event in done] == events[-1].response.output
    assert added[2].item.name == "add" and added[2].item.arguments == ""
    assert added[2].item.call_id != added[3].item.call_id


async def test_a_summary_is_told_in_events_of_its_own() -> None:
    app = make_app(ScriptedBackend(encode("<think>The fox.</think>Hi.")), dialect=THINKING)
    events = await streamed(app, reasoning={"summary": "detailed"})
    assert names(events) == [*OPENING, *SUMMARY, *MESSAGE, "response.completed"]
    assert deltas(events, "reasoning_summary_text") == "The fox."


async def test_the_stream_and_the_stored_response_are_the_same() -> None:
    app = make_app(ScriptedBackend(encode(f"Sure.\n{CALL}")), dialect=THINKING)
    events = await streamed(app, tools=TOOLS, top_logprobs=1)
    final = events[-1].response
    assert await retrieved(app, final.id) == final
    [text_done] = [event for event in events if event.type == "response.output_text.done"]
    told = [
        logprob.model_dump()
        for event in events
        if event.type == "response.output_text.delta"
        for logprob in event.logprobs
    ]
    assert [logprob.model_dump() for logprob in text_done.logprobs] == told
    assert [entry["token"] for entry in told] == [
        entry.token for entry in final.output[0].content[0].logprobs
    ]


@pytest.mark.parametrize("tokens_per_event", [1, 3, 200])
async def test_log_probabilities_are_those_of_the_text(tokens_per_event: int) -> None:
    reply = encode(f"<think>\nThe fox.\n</think>\n\n{REPLY}")
    app = make_app(ScriptedBackend(reply, tokens_per_event), dialect=THINKING)
    events = await streamed(app, include=["message.output_text.logprobs"])
    [_, message] = events[-1].response.output
    told = b"".join(bytes(entry.bytes) for entry in message.content[0].logprobs)
    assert told.decode() == message.content[0].text == REPLY


async def test_a_stream_that_is_cut_short_ends_incomplete() -> None:
    events = await streamed(make_app(), max_output_tokens=3)
    assert names(events) == [*OPENING, *MESSAGE, "response.incomplete"]
    assert events[-2].item.status == "incomplete"
    assert events[-1].response.incomplete_details.reason == "max_output_tokens"


async def test_a_thought_that_is_cut_short_is_all_there_is() -> None:
    app = make_app(ScriptedBackend(encode("<think>The quick brown fox")), dialect=THINKING)
    events = await streamed(app, max_output_tokens=10)
    assert names(events) == [*OPENING, *THOUGHT, "response.incomplete"]
    assert [item.status for item in events[-1].response.output] == ["incomplete"]


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (EngineError("broken"), "server_error", "broken"),
        (ValueError("a secret"), "server_error", "internal server error"),
        (ContextLengthError("too long"), "invalid_prompt", "too long"),
    ],
)
async def test_what_fails_in_the_middle_ends_in_a_failed_response(
    failure: Exception, code: str, message: str
) -> None:
    app = make_app(ScriptedBackend(failure=failure, tokens_before_failure=3))
    events = await streamed(app)
    assert names(events) == [*OPENING, *MESSAGE, "response.failed"]
    final = events[-1].response
    assert final.status == "failed" and final.error.code == code
    assert final.error.message == message
    assert final.output[0].status == "incomplete"
    assert await retrieved(app, final.id) == final


async def test_the_real_client_puts_a_stream_together() -> None:
    app = make_app(ScriptedBackend(encode(f"Sure.\n{CALL}")), dialect=THINKING)
    async with (
        openai_client(app) as client,
        client.responses.stream(model=MODEL, input="hi", tools=TOOLS) as stream,
    ):
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert final.output_text == "Sure."
    assert final.output[1].type == "function_call"
    assert final.output[1].arguments == ARGUMENTS


async def test_each_step_of_the_backend_is_one_write() -> None:
    exchange = RawExchange(
        make_app(ScriptedBackend(encode("The fox"), 1)), PATH, json.dumps(BODY).encode()
    )
    await exchange.run()
    start, *bodies = exchange.rest()
    assert start["status"] == 200
    first = read_events(bodies[0]["body"].decode())
    assert names(first) == [*OPENING, *MESSAGE[:3]]
    assert [b"output_text.delta" in body["body"] for body in bodies[1:-2]] == [True] * (
        len(bodies) - 3
    )
    assert not bodies[-1]["more_body"]


async def test_a_long_silence_before_the_first_token_opens_the_response() -> None:
    gate = asyncio.Semaphore(0)
    app = make_app(ScriptedBackend(gate=gate), limits=Limits(keep_alive_s=0.01))
    exchange = RawExchange(app, PATH, json.dumps(BODY).encode())
    running = asyncio.create_task(exchange.run())
    assert (await exchange.message())["status"] == 200
    opened = await exchange.message()
    assert names(read_events(opened["body"].decode())) == OPENING
    assert (await exchange.message())["body"] == b": keep-alive\n\n"
    exchange.leave()
    await asyncio.wait_for(running, 10)


async def test_a_client_that_leaves_cancels_and_nothing_is_kept() -> None:
    gate = asyncio.Semaphore(2)
    backend = ScriptedBackend(gate=gate)
    app = make_app(backend)
    exchange = RawExchange(app, PATH, json.dumps(BODY).encode())
    running = asyncio.create_task(exchange.run())
    await exchange.message()
    opened = read_events((await exchange.message())["body"].decode())
    exchange.leave()
    await asyncio.wait_for(running, 10)
    assert backend.num_closed_early == 1
    assert (await get(app, opened[0].response.id)).status_code == 404


async def test_errors_of_the_tree_are_told_with_their_texts_only() -> None:
    app = make_app(ScriptedBackend(failure=LegatoError("one line"), tokens_before_failure=1))
    events = await streamed(app)
    assert events[-1].response.error.message == "one line"
