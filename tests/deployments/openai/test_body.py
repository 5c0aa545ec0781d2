"""What the first checks say to the client."""

import logging

import pytest

from legato.tests.deployments.openai.harness import http_client, make_app

APP = make_app()


async def _error(path: str, body: object) -> tuple[str, str | None]:
    async with http_client(APP) as client:
        error = (await client.post(path, json=body)).json()["error"]
    return error["message"], error["param"]


async def test_a_wrong_type_is_told_with_its_place() -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}
    message, param = await _error("/v1/chat/completions", body)
    assert param == "messages[0].content[0].text"
    assert message == "messages[0].content[0].text: expected `str | null`, got `int`"


async def test_a_missing_field_is_told_by_its_name() -> None:
    assert await _error("/v1/completions", {}) == ("prompt: this field is required", "prompt")
    assert await _error("/detokenize", {}) == ("tokens: this field is required", "tokens")


async def test_an_internal_field_is_refused_even_where_nothing_is_generated() -> None:
    for path in ("/tokenize", "/v1/completions"):
        _, param = await _error(path, {"prompt": "a", "kv_transfer_params": {"a": 1}})
        assert param == "kv_transfer_params"


async def test_ignored_fields_are_logged_for_those_who_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "legato.deployments.openai.body")
    async with http_client(APP) as client:
        body = {"prompt": "a", "temprature": 1}
        assert (await client.post("/v1/completions", json=body)).status_code == 200
    assert "ignored fields: ['temprature']" in caplog.text
