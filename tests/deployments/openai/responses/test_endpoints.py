"""Responses that are not streamed, and what can be asked of them afterwards."""

import dataclasses
import json
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from openai.types.responses.input_token_count_response import InputTokenCountResponse
from openai.types.responses.response_item_list import ResponseItemList
from pydantic import BaseModel

from legato.deployments.openai.app import create_app
from legato.deployments.openai.rate_limits import RateLimiter, RateLimits
from legato.engine.errors import EngineError, OverloadedError
from legato.engine.structured_output import StructuredOutputKind
from legato.tests.deployments.openai.harness import (
    ALIAS,
    MODEL,
    REPLY,
    ScriptedBackend,
    decode,
    encode,
    http_client,
    make_app,
    make_service,
    openai_client,
)
from legato.tests.deployments.openai.responses.exchange import (
    ARGUMENTS,
    CALL,
    PATH,
    THINKING,
    TOOLS,
    authorization,
    get,
    post,
    retrieved,
    whole,
)
from legato.tests.deployments.openai.strict import validated


async def test_a_text_is_answered_with_one_message() -> None:
    backend = ScriptedBackend()
    response = await whole(make_app(backend), instructions="Be brief.")
    assert response.output_text == REPLY
    [message] = response.output
    assert message.type == "message" and message.status == "completed"
    assert response.status == "completed" and response.completed_at is not None
    assert (response.model, response.instructions) == (MODEL, "Be brief.")
    assert response.id.startswith("resp_") and message.id.startswith("msg_")
    prompt = "<|start|>system\nBe brief.<|end|>\n<|start|>user\nhi<|end|>\n<|start|>assistant\n"
    assert backend.requests[0].prompt_token_ids == encode(prompt)
    assert response.usage is not None
    assert response.usage.input_tokens == len(encode(prompt))
    assert response.usage.input_tokens_details.cached_tokens == 4
    assert response.usage.output_tokens == len(encode(REPLY)) + 1


async def test_what_was_asked_for_is_repeated_and_reaches_the_sampler() -> None:
    backend = ScriptedBackend()
    fields: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 200,
        "metadata": {"run": "7"},
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "truncation": "disabled",
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "p",
        "max_tool_calls": 3,
        "tools": TOOLS,
        "parallel_tool_calls": False,
    }
    app = make_app(backend, dialect=THINKING)
    response = await whole(app, model=ALIAS, top_k=3, seed=5, **fields)
    echoed = response.model_dump(exclude_unset=True)
    same = fields.keys() - {"reasoning", "tools"}
    assert {name: echoed[name] for name in same} == {name: fields[name] for name in same}
    assert echoed["reasoning"]["effort"] == "low"
    assert [tool["name"] for tool in echoed["tools"]] == ["add", "fox"]
    params = backend.requests[0].params
    assert (params.temperature, params.top_p, params.top_k) == (0.5, 0.9, 3)
    assert (params.max_tokens, backend.requests[0].sampling_seed) == (200, 5)


async def test_what_was_left_open_is_told_as_it_was_settled() -> None:
    response = await whole(make_app(generation_defaults={"temperature": 0.6}))
    assert (response.temperature, response.top_p) == (0.6, 1.0)
    assert (response.truncation, response.tool_choice) == ("disabled", "auto")
    assert response.parallel_tool_calls and response.metadata == {}
    assert response.text is not None and response.text.format is not None
    assert response.text.format.type == "text"


async def test_an_answer_that_is_cut_short_is_incomplete_and_says_why() -> None:
    response = await whole(make_app(), max_output_tokens=3)
    assert response.status == "incomplete" and response.completed_at is None
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    [message] = response.output
    assert message.type == "message" and message.status == "incomplete"
    assert response.output_text == decode(encode(REPLY)[:3])


async def test_an_answer_without_a_text_is_a_message_without_one() -> None:
    response = await whole(make_app(ScriptedBackend(())))
    assert response.status == "completed"
    assert [item.type for item in response.output] == ["message"]
    assert response.output_text == ""


async def test_thoughts_texts_and_calls_are_items_in_their_order() -> None:
    reply = f"<think>\nfox</think>Sure.\n{CALL}\n{CALL}"
    app = make_app(ScriptedBackend(encode(reply)), dialect=THINKING)
    response = await whole(app, tools=TOOLS)
    thought, message, first, second = response.output
    assert thought.type == "reasoning" and thought.summary == []
    assert thought.content is not None and thought.content[0].text == "fox"
    assert message.type == "message" and response.output_text == "Sure."
    assert first.type == "function_call" and second.type == "function_call"
    assert first.name == "add" and first.arguments == second.arguments == ARGUMENTS
    assert first.call_id != second.call_id and first.id != second.id
    assert response.usage is not None
    assert response.usage.output_tokens_details.reasoning_tokens > 0


async def test_one_call_alone_is_made_where_parallel_ones_are_not_wanted() -> None:
    app = make_app(ScriptedBackend(encode(f"{CALL}\n{CALL}")), dialect=THINKING)
    response = await whole(app, tools=TOOLS, parallel_tool_calls=False)
    assert [item.type for item in response.output] == ["function_call"]


async def test_a_thought_is_the_summary_where_one_is_asked_for() -> None:
    app = make_app(ScriptedBackend(encode("<think>fox</think>Hi.")), dialect=THINKING)
    response = await whole(app, reasoning={"summary": "auto"})
    thought = response.output[0]
    assert thought.type == "reasoning" and not thought.content
    assert [part.text for part in thought.summary] == ["fox"]


@pytest.mark.parametrize("fields", [{"include": ["message.output_text.logprobs"]}, {}])
async def test_log_probabilities_come_with_their_tokens(fields: dict[str, Any]) -> None:
    response = await whole(make_app(), top_logprobs=2, **fields)
    assert response.top_logprobs == 2
    [message] = response.output
    assert message.type == "message" and message.content[0].type == "output_text"
    logprobs = message.content[0].logprobs
    assert logprobs is not None
    assert b"".join(bytes(entry.bytes) for entry in logprobs).decode() == REPLY
    assert all(len(entry.top_logprobs) == 2 for entry in logprobs)


async def test_a_format_is_what_the_answer_is_held_to() -> None:
    backend = ScriptedBackend(encode('{"a": 1}'))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "name": "a", "schema": schema, "strict": True}
    response = await whole(make_app(backend), text={"format": form})
    assert response.text is not None and response.text.format is not None
    assert response.text.format.model_dump(by_alias=True, exclude_unset=True) == form
    held = backend.requests[0].params.structured_output
    assert held is not None and held.kind is StructuredOutputKind.JSON_SCHEMA
    await whole(make_app(backend), text={"format": {"type": "json_object"}})
    held = backend.requests[1].params.structured_output
    assert held is not None and held.kind is StructuredOutputKind.JSON_OBJECT


class Sum(BaseModel):
    a: int


async def test_the_real_client_parses_a_format_into_its_type() -> None:
    async with openai_client(make_app(ScriptedBackend(encode('{"a": 1}')))) as client:
        response = await client.responses.parse(model=MODEL, input="hi", text_format=Sum)
    assert response.output_parsed == Sum(a=1)


async def test_the_real_client_can_do_all_that_it_knows() -> None:
    async with openai_client(make_app()) as client:
        response = await client.responses.create(model=MODEL, input="hi")
        assert (await client.responses.retrieve(response.id)).output_text == REPLY
        items = [item async for item in client.responses.input_items.list(response.id)]
        assert [item.type for item in items] == ["message"]
        count = await client.responses.input_tokens.count(model=MODEL, input="hi")
        assert response.usage is not None and count.input_tokens == response.usage.input_tokens
        await client.responses.delete(response.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(response.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.delete(response.id)


async def test_a_response_is_found_again_by_the_key_that_made_it_alone() -> None:
    app = make_app(api_keys=["one", "two"])
    made = validated(Response, (await post(app, key="one")).content)
    assert validated(Response, (await get(app, made.id, "one")).content) == made
    for path in (made.id, f"{made.id}/input_items"):
        assert (await get(app, path, "two")).status_code == 404
    async with http_client(app, headers=authorization("two")) as client:
        for method, path in (("DELETE", made.id), ("POST", f"{made.id}/cancel")):
            answer = await client.request(method, f"{PATH}/{path}")
            assert answer.status_code == 404
            assert answer.json()["error"]["type"] == "not_found_error"
    refused = await post(app, key="two", previous_response_id=made.id)
    assert refused.json()["error"]["code"] == "previous_response_not_found"
    reference = [{"type": "item_reference", "id": made.output[0].id}]
    assert (await post(app, key="two", input=reference)).status_code == 400
    assert (await get(app, made.id)).status_code == 401
    assert (await get(app, made.id, "one")).status_code == 200


async def test_a_response_that_is_not_to_be_stored_is_not() -> None:
    app = make_app()
    response = await whole(app, store=False)
    assert (await get(app, response.id)).status_code == 404


async def test_input_items_come_in_pages() -> None:
    app = make_app()
    texts = [f"fox {i}" for i in range(5)]
    response = await whole(app, input=[{"role": "user", "content": text} for text in texts])
    found: list[str] = []
    after = ""
    while True:
        answer = await get(app, f"{response.id}/input_items?order=asc&limit=2{after}")
        page: Any = validated(ResponseItemList, answer.content)
        found += [item.content[0].text for item in page.data]
        if not page.has_more:
            break
        after = f"&after={page.last_id}"
    assert found == texts
    for query in ("limit=0", "limit=a", "order=up", "after=msg_0"):
        answer = await get(app, f"{response.id}/input_items?{query}")
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == query.partition("=")[0]


async def test_tokens_are_counted_without_generating() -> None:
    backend = ScriptedBackend()
    async with http_client(make_app(backend)) as client:
        body = {"model": MODEL, "input": "fox " * 400, "instructions": "Be brief."}
        answer = await client.post(f"{PATH}/input_tokens", json=body)
    assert validated(InputTokenCountResponse, answer.content).input_tokens > 400
    assert not backend.requests


async def test_an_overloaded_cluster_is_503_and_a_failure_is_500() -> None:
    for backend, status in (
        (ScriptedBackend(refusal=OverloadedError("full")), 503),
        (ScriptedBackend(failure=EngineError("broken")), 500),
        (ScriptedBackend(failure=EngineError("broken"), tokens_before_failure=3), 500),
    ):
        app = make_app(backend)
        answer = await post(app)
        assert answer.status_code == status
        assert answer.json()["error"]["type"] == "server_error"
        if backend.refusal or not backend.tokens_before_failure:
            assert (await post(app, stream=True)).status_code == status


async def test_a_keys_limits_hold_here_too_and_a_conversation_that_is_cut_counts_once() -> None:
    limiter = RateLimiter(RateLimits(requests_per_minute=1), clock=lambda: 0.0)
    service = dataclasses.replace(make_service(ScriptedBackend()), rate_limits=limiter)
    app = create_app(service)
    turns = [{"role": "user", "content": f"fox {i}"} for i in range(40)]
    await whole(app, input=turns, truncation="auto")
    answer = await post(app)
    assert answer.status_code == 429 and answer.headers["retry-after"]


async def test_only_what_was_in_the_background_can_be_cancelled_or_streamed_again() -> None:
    app = make_app()
    response = await whole(app)
    async with http_client(app) as client:
        assert (await client.post(f"{PATH}/{response.id}/cancel")).status_code == 400
    assert (await get(app, f"{response.id}?stream=true")).status_code == 400
    assert (await get(app, f"{response.id}?stream=false")).status_code == 200


REFUSED: list[tuple[dict[str, Any], str | None]] = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
        "input[0].content[0].type",
    ),
    ({"input": [{"type": "web_search_call", "id": "a"}]}, "input[0].type"),
    ({"input": [{"type": "item_reference", "id": "a"}]}, "input[0].id"),
    ({"input": "please fail"}, "input"),
    ({"input": "fox " * 400}, None),
    ({"input": 5}, "input"),
    ({"max_tokens": 5}, "max_tokens"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"n": 2}, "n"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": 100_000}, "max_output_tokens"),
    ({"top_logprobs": 99}, "top_logprobs"),
    ({"include": ["everything"]}, "include[0]"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ({"metadata": {"a": "b" * 513}}, "metadata"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "no"}}, "tool_choice"),
    ({"tools": TOOLS, "tool_choice": {"type": "mcp"}}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
    (
        {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "no"}}}},
        "text.format.schema",
    ),
    ({"reasoning": {"effort": "some"}}, "reasoning.effort"),
    ({"truncation": "always"}, "truncation"),
    ({"background": True, "store": False}, "background"),
    ({"previous_response_id": "resp_0"}, "previous_response_id"),
    ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
    ({"kv_transfer_params": {}}, "kv_transfer_params"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED, ids=lambda value: str(value)[:40])
async def test_what_cannot_be_done_is_a_400_that_names_the_field(
    fields: dict[str, Any], param: str | None
) -> None:
    backend = ScriptedBackend()
    answer = await post(make_app(backend, dialect=THINKING), **fields)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert not backend.requests


async def test_what_cannot_change_the_answer_is_ignored() -> None:
    fields: dict[str, Any] = {
        "include": ["reasoning.encrypted_content", "file_search_call.results"],
        "service_tier": "flex",
        "prompt_cache_retention": "24h",
        "stream_options": None,
        "conversation": None,
    }
    response = await whole(make_app(), **fields)
    assert response.service_tier == "default"


async def test_the_body_of_a_deletion_says_what_was_deleted() -> None:
    app = make_app()
    response = await whole(app)
    async with http_client(app) as client:
        answer = await client.delete(f"{PATH}/{response.id}")
    assert json.loads(answer.content) == {
        "id": response.id,
        "object": "response",
        "deleted": True,
    }
    with pytest.raises(AssertionError):
        await retrieved(app, response.id)
