"""The application as a whole: paths, methods, and bodies that nobody should send."""

import json
from typing import Any

import openai
import pytest

from legato.engine.errors import EngineError
from legato.tests.deployments.openai.harness import (
    MODEL,
    ScriptedBackend,
    http_client,
    make_app,
    openai_client,
)

APP = make_app(ScriptedBackend(reply=(5, 6)))
POST_PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/tokenize",
    "/detokenize",
)
MESSAGES = [{"role": "user", "content": "hi"}]


def assert_envelope(answer: Any) -> None:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"]
    assert error["code"] is None or isinstance(error["code"], str)
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/chat/completions/", "/docs"])
async def test_an_unknown_path_is_404_in_the_envelope(path: str) -> None:
    async with http_client(APP) as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    assert_envelope(answer)
    assert answer.json()["error"]["type"] == "not_found_error"


async def test_a_wrong_method_is_405_and_names_the_right_ones() -> None:
    async with http_client(APP) as client:
        for method, path in (("GET", "/v1/completions"), ("DELETE", "/v1/models")):
            answer = await client.request(method, path)
            assert answer.status_code == 405
            assert answer.headers["allow"]
            assert_envelope(answer)


async def test_an_unknown_model_is_404_model_not_found() -> None:
    async with openai_client(APP) as client:
        with pytest.raises(openai.NotFoundError) as refusal:
            await client.completions.create(model="gpt-9", prompt="a")
    assert refusal.value.code == "model_not_found"
    assert MODEL in refusal.value.message


BAD_BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b'{"prompt": "\xed\xa0\x80"}',
    rb'{"prompt": "\ud800", "messages": [{"role": "user", "content": "\udfff"}]}',
    b'{"temperature": NaN}',
    b'{"temperature": 1e999}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"{}",
    b"1" * 10_000,
]


@pytest.mark.parametrize("path", POST_PATHS)
async def test_a_body_that_is_no_request_is_400_in_the_envelope(path: str) -> None:
    async with http_client(APP) as client:
        for body in BAD_BODIES:
            answer = await client.post(path, content=body)
            assert answer.status_code == 400, body[:40]
            assert_envelope(answer)


@pytest.mark.parametrize("path", POST_PATHS)
async def test_a_huge_body_is_413_however_its_length_is_declared(path: str) -> None:
    async def chunks() -> Any:
        for _ in range(9):
            yield b" " * (1 << 20)

    async with http_client(APP) as client:
        for content in (b" " * (9 << 20), chunks()):
            answer = await client.post(path, content=content)
            assert answer.status_code == 413
            assert_envelope(answer)


BAD_FIELDS = [
    ("n", 0),
    ("n", 129),
    ("n", True),
    ("n", 1.5),
    ("temperature", -1),
    ("temperature", "warm"),
    ("temperature", 10**400),
    ("top_p", 0),
    ("top_p", 2),
    ("top_k", -2),
    ("top_k", 10**30),
    ("min_p", 2),
    ("presence_penalty", 3),
    ("frequency_penalty", -3),
    ("repetition_penalty", 0),
    ("logit_bias", {"5": 101}),
    ("logit_bias", {"x": 1}),
    ("logit_bias", {"100000": 1}),
    ("logit_bias", {"-1": 1}),
    ("logit_bias", {str(i): 1 for i in range(1025)}),
    ("seed", 1 << 63),
    ("stop", ""),
    ("stop", ["a"] * 17),
    ("stop", "a" * 1025),
    ("stop", [1]),
    ("stop_token_ids", [298]),
    ("stop_token_ids", [-1]),
    ("stop_token_ids", [1] * 257),
    ("max_tokens", 0),
    ("max_tokens", -1),
    ("min_tokens", -1),
    ("min_tokens", 200),
    ("priority", 1 << 40),
    ("stream", "yes"),
    ("stream_options", {"include_usage": True}),
    ("cache_salt", 5),
    ("kv_transfer_params", {"remote": "10.0.0.1"}),
    ("request_id", "mine"),
    ("prompt_embeds", "AAAA"),
    ("tools", [{"type": "function"}]),
    ("tool_choice", "required"),
    ("response_format", {"type": "xml"}),
    ("response_format", {"type": "json_schema", "json_schema": {"schema": {"type": "wrong"}}}),
    ("structured_outputs", {"regex": "("}),
    ("structured_outputs", {"regex": "a", "choice": ["a"]}),
    ("structured_outputs", {"structural_tag": "{}"}),
    ("guided_choice", []),
    ("guided_json", "{"),
    ("guided_grammar", "start: nowhere"),
    ("prompt_logprobs", -1),
    ("allowed_token_ids", []),
    ("truncate_prompt_tokens", 0),
    ("chat_template", "{{ 1 }}"),
    ("best_of", 4),
    ("bad_words", [""]),
    ("modalities", ["audio"]),
]


@pytest.mark.parametrize(("name", "value"), BAD_FIELDS)
async def test_a_field_out_of_range_is_400_and_named(name: str, value: object) -> None:
    async with http_client(APP) as client:
        for path, base in (
            ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 100}),
            ("/v1/completions", {"prompt": "a", "max_tokens": 100}),
        ):
            answer = await client.post(path, content=json.dumps({**base, name: value}))
            assert answer.status_code == 400, answer.text
            assert_envelope(answer)
            assert answer.json()["error"]["param"].startswith(name)


async def test_fields_that_ask_for_nothing_are_accepted() -> None:
    harmless = {
        "tools": [],
        "tool_choice": "none",
        "response_format": {"type": "text"},
        "best_of": 1,
        "user": "u",
        "store": True,
        "metadata": {"a": "b"},
        "service_tier": "auto",
        "parallel_tool_calls": True,
        "kv_transfer_params": None,
        "no_such_field": [1, 2],
        "logit_bias": None,
        "n": None,
        "stream": None,
        "logprobs": None,
    }
    async with http_client(APP) as client:
        answer = await client.post("/v1/chat/completions", json={"messages": MESSAGES, **harmless})
    assert answer.status_code == 200


BAD_MESSAGES = [
    ([], "messages"),
    ("hi", "messages"),
    ([{"content": "hi"}], "messages[0].role"),
    ([{"role": "user"}], "messages[0].content"),
    ([{"role": "wizard", "content": "hi"}], "messages[0].role"),
    ([{"role": "user", "content": 5}], "messages[0].content"),
    ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].type"),
    ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
    ([*MESSAGES, {"role": "assistant", "tool_calls": [{}]}], "messages[1].tool_calls[0].function"),
    ([{"role": "user", "content": "please fail"}], "messages"),
]


@pytest.mark.parametrize(("messages", "param"), BAD_MESSAGES)
async def test_a_malformed_conversation_is_400_and_the_place_is_named(
    messages: object, param: str
) -> None:
    async with http_client(APP) as client:
        for path in ("/v1/chat/completions", "/tokenize"):
            answer = await client.post(path, json={"messages": messages})
            assert answer.status_code == 400
            assert answer.json()["error"]["param"] == param
            assert_envelope(answer)


BAD_PROMPTS: list[object] = [
    [],
    [[]],
    "",
    [True],
    ["a", 1],
    [1, [1]],
    [298],
    [[0], [-1]],
    {},
    5,
    None,
]


@pytest.mark.parametrize("prompt", BAD_PROMPTS)
async def test_a_malformed_prompt_is_400_and_named(prompt: object) -> None:
    async with http_client(APP) as client:
        answer = await client.post("/v1/completions", json={"prompt": prompt})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("prompt")
    assert_envelope(answer)


async def test_an_unexpected_error_is_logged_and_answered_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app(ScriptedBackend(failure=ValueError("secret")))
    async with http_client(app) as client:
        answer = await client.post("/v1/completions", json={"prompt": "a"})
    assert answer.status_code == 500
    assert_envelope(answer)
    assert answer.json()["error"]["message"] == "internal server error"
    assert "secret" in caplog.text


async def test_a_fault_of_ours_is_told_in_its_own_words() -> None:
    app = make_app(ScriptedBackend(failure=EngineError("the KV cache broke")))
    async with http_client(app) as client:
        answer = await client.post("/v1/completions", json={"prompt": "a"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert answer.json()["error"]["message"] == "the KV cache broke"
