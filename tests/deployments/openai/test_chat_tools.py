"""Tools, thoughts and forms through /v1/chat/completions, as the real OpenAI client sees them."""

import json
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from legato.deployments.openai.message.dialect import Dialect
from legato.deployments.openai.message.reasoning import THINK_TAGS
from legato.deployments.openai.message.tool_syntax import HERMES, LLAMA3_JSON, MISTRAL, PYTHONIC
from legato.engine.structured_output import StructuredOutputKind
from legato.tests.deployments.openai.harness import (
    MODEL,
    ScriptedBackend,
    decode,
    encode,
    http_client,
    make_app,
    openai_client,
)
from legato.tests.deployments.openai.strict import validated

HI: list[Any] = [{"role": "user", "content": "hi"}]
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "fox"}},
]
CALL = '{"name": "add", "arguments": {"a": "5 €", "b": 2}}'
REPLY = f"Sure.\n<tool_call>\n{CALL}\n</tool_call>\n<tool_call>{CALL}</tool_call>"
TOOL_DIALECT = Dialect(HERMES)
THINKING = Dialect(HERMES, THINK_TAGS["qwen3"])
FORM = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
ADD = {"type": "function", "function": {"name": "add"}}


async def ask(
    backend: ScriptedBackend, dialect: Dialect = TOOL_DIALECT, **fields: Any
) -> httpx.Response:
    async with http_client(make_app(backend, dialect=dialect)) as client:
        body = {"model": MODEL, "messages": HI, **fields}
        return await client.post("/v1/chat/completions", json=body)


async def whole(
    reply: str, dialect: Dialect = TOOL_DIALECT, **fields: Any
) -> tuple[Any, ScriptedBackend]:
    """The one choice of an answer that is not streamed."""
    backend = ScriptedBackend(encode(reply))
    answer = await ask(backend, dialect, **fields)
    assert answer.status_code == 200, answer.text
    return validated(ChatCompletion, answer.content).choices[0], backend


async def chunks(
    reply: str, dialect: Dialect = TOOL_DIALECT, tokens_per_event: int = 1, **fields: Any
) -> list[Any]:
    """The choices of a stream's chunks."""
    backend = ScriptedBackend(encode(reply), tokens_per_event)
    answer = await ask(backend, dialect, stream=True, **fields)
    assert answer.status_code == 200, answer.text
    blocks = answer.text.split("\n\n")[:-2]
    return [
        validated(ChatCompletionChunk, block.removeprefix("data: ")).choices[0] for block in blocks
    ]


async def test_a_message_has_its_text_and_its_calls_and_ends_with_tool_calls() -> None:
    choice, backend = await whole(REPLY, tools=TOOLS)
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Sure."
    first, second = choice.message.tool_calls
    assert first.function.arguments == second.function.arguments == '{"a": "5 €", "b": 2}'
    assert first.type == "function" and first.id != second.id
    assert "[add][fox]" in decode(backend.requests[0].prompt_token_ids)


@pytest.mark.parametrize("tokens_per_event", [1, 4, 100])
async def test_a_stream_names_each_call_once_and_gives_its_arguments_in_pieces(
    tokens_per_event: int,
) -> None:
    choices = await chunks(REPLY, tokens_per_event=tokens_per_event, tools=TOOLS)
    assert choices[0].delta.role == "assistant"
    assert choices[-1].finish_reason == "tool_calls"
    assert choices[-1].delta.model_dump(exclude_unset=True) == {}
    text = "".join(choice.delta.content or "" for choice in choices)
    assert text == "Sure."
    fragments = [choice.delta.tool_calls for choice in choices if choice.delta.tool_calls]
    assert all(len(fragment) == 1 for fragment in fragments)
    for index in (0, 1):
        opened, *pieces = [f for [f] in fragments if f.index == index]
        assert opened.id and opened.type == "function"
        assert (opened.function.name, opened.function.arguments) == ("add", "")
        assert all(p.id is None and p.function.name is None for p in pieces)
        assert json.loads("".join(p.function.arguments for p in pieces)) == {"a": "5 €", "b": 2}


async def test_the_real_client_puts_a_streams_calls_together() -> None:
    app = make_app(ScriptedBackend(encode(REPLY)), dialect=TOOL_DIALECT)
    async with (
        openai_client(app) as client,
        client.chat.completions.stream(model=MODEL, messages=HI, tools=TOOLS) as stream,
    ):
        message = (await stream.get_final_completion()).choices[0].message
    assert message.content == "Sure."
    assert message.tool_calls is not None
    assert [call.function.name for call in message.tool_calls] == ["add", "add"]
    assert [call.function.arguments for call in message.tool_calls] == ['{"a": "5 €", "b": 2}'] * 2


async def test_token_ids_and_logprobs_are_complete_beside_calls() -> None:
    fields: dict[str, Any] = {"tools": TOOLS, "return_token_ids": True, "logprobs": True}
    choice, _ = await whole(REPLY, **fields)
    streamed = await chunks(REPLY, **fields)
    ids = [i for one in streamed for i in one.model_extra.get("token_ids") or ()]
    assert ids == choice.token_ids
    assert tuple(ids[:-1]) == encode(REPLY)
    entries = [entry for one in streamed if one.logprobs for entry in one.logprobs.content]
    assert [e.token for e in entries] == [e.token for e in choice.logprobs.content]


async def test_one_call_is_given_where_parallel_calls_are_off() -> None:
    choice, _ = await whole(REPLY, tools=TOOLS, parallel_tool_calls=False)
    assert len(choice.message.tool_calls) == 1
    streamed = await chunks(REPLY, tools=TOOLS, parallel_tool_calls=False)
    assert {f.index for c in streamed for f in c.delta.tool_calls or ()} == {0}


async def test_a_malformed_call_is_content_and_the_answer_ends_plainly() -> None:
    reply = "<tool_call>\nfox jumps\n</tool_call>"
    choice, _ = await whole(reply, tools=TOOLS)
    assert (choice.message.content, choice.message.tool_calls) == (reply, None)
    assert choice.finish_reason == "stop"
    streamed = await chunks(reply, tools=TOOLS)
    assert "".join(choice.delta.content or "" for choice in streamed) == reply
    assert streamed[-1].finish_reason == "stop"


async def test_a_call_that_is_cut_short_ends_by_length() -> None:
    streamed = await chunks(REPLY, tools=TOOLS, max_tokens=30)
    assert streamed[-1].finish_reason == "length"
    choice, _ = await whole(REPLY, tools=TOOLS, max_tokens=30)
    assert choice.finish_reason == "length"


async def test_without_tools_calls_are_text() -> None:
    given: list[dict[str, Any]] = [{}, {"tools": TOOLS, "tool_choice": "none"}, {"tools": []}]
    for fields in given:
        choice, backend = await whole(REPLY, **fields)
        assert choice.message.content == REPLY
        assert choice.message.tool_calls is None
        assert "[add]" not in decode(backend.requests[0].prompt_token_ids)


@pytest.mark.parametrize(
    ("choice", "reason"), [("required", "tool_calls"), (ADD, "stop")], ids=["required", "named"]
)
@pytest.mark.parametrize(
    ("dialect", "reply"),
    [
        (TOOL_DIALECT, f"{CALL}\n</tool_call>"),
        (Dialect(MISTRAL), f"[TOOL_CALLS][{CALL}]"),
        (Dialect(PYTHONIC), CALL),
        (Dialect(), CALL),
    ],
)
async def test_a_call_that_must_be_is_held_to_its_schema(
    dialect: Dialect, reply: str, choice: Any, reason: str
) -> None:
    answer, backend = await whole(reply, dialect, tools=TOOLS, tool_choice=choice)
    [call] = answer.message.tool_calls
    assert (call.function.name, answer.message.content) == ("add", None)
    assert answer.finish_reason == reason
    held = backend.requests[0].params.structured_output
    assert held is not None and held.kind is StructuredOutputKind.CALLS
    assert ("fox" in held.spec) == (choice == "required")
    prompt = decode(backend.requests[0].prompt_token_ids)
    assert prompt.endswith("<tool_call>\n") == (dialect is TOOL_DIALECT)
    streamed = await chunks(reply, dialect, tools=TOOLS, tool_choice=choice)
    assert streamed[-1].finish_reason == reason
    pieces = [f for c in streamed for f in c.delta.tool_calls or ()]
    assert "".join(f.function.arguments for f in pieces) == call.function.arguments


async def test_llamas_key_of_arguments_is_the_one_that_is_required_of_it() -> None:
    call = CALL.replace("arguments", "parameters")
    answer, backend = await whole(call, Dialect(LLAMA3_JSON), tools=TOOLS, tool_choice="required")
    assert answer.message.tool_calls[0].function.name == "add"
    held = backend.requests[0].params.structured_output
    assert held is not None and "parameters" in held.spec


async def test_an_earlier_call_and_its_result_reach_the_template() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    messages = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "3"},
    ]
    _, backend = await whole("Three.", messages=messages, tools=TOOLS)
    prompt = decode(backend.requests[0].prompt_token_ids)
    assert "(add [('a', 1)])" in prompt and "tool\n3" in prompt


@pytest.mark.parametrize(
    ("dialect", "flag"),
    [(Dialect(), "--tool-call-parser"), (Dialect(HERMES, None, False), "--no-enable-auto")],
)
async def test_tools_that_nobody_could_read_calls_of_are_refused(
    dialect: Dialect, flag: str
) -> None:
    answer = await ask(ScriptedBackend(), dialect, tools=TOOLS)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "tools"
    assert flag in answer.json()["error"]["message"]


async def test_a_schema_that_no_call_could_be_held_to_is_refused() -> None:
    wrong = {"name": "add", "parameters": {"type": "no such type"}}
    tools = [{"type": "function", "function": wrong}]
    answer = await ask(ScriptedBackend(), tools=tools, tool_choice="required")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "tools"


async def test_a_thought_comes_under_both_names_and_is_counted() -> None:
    reply = "<think>\nthe quick brown fox\n</think>\n\nHello."
    choice, _ = await whole(reply, THINKING)
    assert choice.message.content == "Hello."
    assert choice.message.reasoning == choice.message.reasoning_content == "the quick brown fox"
    streamed = await chunks(reply, THINKING)
    for name in ("reasoning", "reasoning_content"):
        pieces = [c.delta.model_extra.get(name) or "" for c in streamed]
        assert "".join(pieces) == "the quick brown fox"
    assert "".join(c.delta.content or "" for c in streamed) == "Hello."
    answer = validated(
        ChatCompletion, (await ask(ScriptedBackend(encode(reply)), THINKING)).content
    )
    assert answer.usage is not None and answer.usage.completion_tokens_details is not None
    num_thought = answer.usage.completion_tokens_details.reasoning_tokens
    assert num_thought is not None and 4 <= num_thought < answer.usage.completion_tokens - 2


async def test_a_thought_that_the_template_opens_is_one() -> None:
    fields = {"chat_template_kwargs": {"thinks": True}}
    choice, backend = await whole("the fox</think>Hello.", THINKING, **fields)
    assert (choice.message.reasoning, choice.message.content) == ("the fox", "Hello.")
    assert decode(backend.requests[0].prompt_token_ids).endswith("<think>\n")


async def test_an_answer_that_is_held_to_a_form_thinks_no_more() -> None:
    fields = {"chat_template_kwargs": {"thinks": True}, "response_format": {"type": "json_object"}}
    choice, backend = await whole('{"a": 1}', THINKING, **fields)
    assert choice.message.content == '{"a": 1}'
    assert decode(backend.requests[0].prompt_token_ids).endswith("<think>\n\n</think>\n\n")


async def test_a_thought_is_left_out_where_the_client_does_not_want_it() -> None:
    choice, _ = await whole("<think>fox</think>Hello.", THINKING, include_reasoning=False)
    assert choice.message.content == "Hello."
    assert "reasoning" not in choice.message.model_extra


async def test_a_form_reaches_the_backend_and_leaves_the_answer_as_it_is() -> None:
    choice, backend = await whole('{"a": 1}', response_format=FORM)
    assert choice.message.content == '{"a": 1}'
    held = backend.requests[0].params.structured_output
    assert held is not None and held.kind is StructuredOutputKind.JSON_SCHEMA


@pytest.mark.parametrize("dialect", [TOOL_DIALECT, Dialect(LLAMA3_JSON), Dialect(MISTRAL)])
async def test_a_model_with_tools_and_a_form_may_call_or_answer_in_the_form(
    dialect: Dialect,
) -> None:
    fields: dict[str, Any] = {"tools": TOOLS, "response_format": FORM}
    written = '{"a": "5 €"}'
    choice, backend = await whole(written, dialect, **fields)
    assert (choice.message.content, choice.message.tool_calls) == (written, None)
    assert choice.finish_reason == "stop"
    held = backend.requests[0].params.structured_output
    assert held is not None and held.kind is StructuredOutputKind.ANY_OF
    streamed = await chunks(written, dialect, **fields)
    assert "".join(one.delta.content or "" for one in streamed) == written
    call = {
        HERMES: f"<tool_call>\n{CALL}\n</tool_call>",
        MISTRAL: f"[TOOL_CALLS][{CALL}]",
        LLAMA3_JSON: CALL.replace("arguments", "parameters"),
    }
    assert dialect.tool_syntax is not None
    choice, _ = await whole(call[dialect.tool_syntax], dialect, **fields)
    assert (choice.message.content, choice.finish_reason) == (None, "tool_calls")
    assert [one.function.name for one in choice.message.tool_calls] == ["add"]


async def test_of_tools_and_a_form_the_one_at_fault_is_named() -> None:
    wrong = {"name": "a", "schema": {"type": "no such type"}}
    form = {"type": "json_schema", "json_schema": wrong}
    answer = await ask(ScriptedBackend(), tools=TOOLS, response_format=form)
    assert answer.json()["error"]["param"] == "response_format.json_schema.schema"
    tools = [{"type": "function", "function": {"name": "a", "parameters": wrong["schema"]}}]
    answer = await ask(ScriptedBackend(), tools=tools, response_format=FORM)
    assert answer.json()["error"]["param"] == "tools"


@pytest.mark.parametrize(("choice", "num_calls"), [("required", 2), (ADD, 1)])
async def test_calls_that_must_be_may_be_several_unless_the_client_names_the_function(
    choice: Any, num_calls: int
) -> None:
    reply = f"{CALL}\n</tool_call>\n<tool_call>\n{CALL}\n</tool_call>"
    answer, backend = await whole(reply, tools=TOOLS, tool_choice=choice)
    assert len(answer.message.tool_calls) == num_calls
    held = backend.requests[0].params.structured_output
    assert held is not None and (")*" in held.spec) == (num_calls == 2)


async def test_a_completion_can_be_held_to_a_form_too() -> None:
    backend = ScriptedBackend()
    async with openai_client(make_app(backend)) as client:
        extra: dict[str, Any] = {"structured_outputs": {"choice": ["a", "b"]}}
        await client.completions.create(model=MODEL, prompt="a", extra_body=extra)
        with pytest.raises(openai.BadRequestError) as refusal:
            extra = {"structured_outputs": {"regex": "("}}
            await client.completions.create(model=MODEL, prompt="a", extra_body=extra)
    assert refusal.value.param == "structured_outputs.regex"
    held = backend.requests[0].params.structured_output
    assert held is not None and held.kind is StructuredOutputKind.CHOICE


async def test_each_of_n_answers_has_its_own_calls() -> None:
    backend = ScriptedBackend(encode(REPLY))
    answer = validated(ChatCompletion, (await ask(backend, tools=TOOLS, n=3)).content)
    ids = [call.id for choice in answer.choices for call in choice.message.tool_calls or ()]
    assert len(set(ids)) == 6
