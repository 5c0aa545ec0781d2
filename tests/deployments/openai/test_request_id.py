"""Each answer names its request."""

import logging

import openai
import pytest

from legato.tests.deployments.openai.harness import (
    MODEL,
    ScriptedBackend,
    http_client,
    make_app,
    openai_client,
)

APP = make_app(api_keys=["key"])
KEY = {"authorization": "Bearer key"}


@pytest.mark.parametrize("given", ["mine-1", "0af7651916cd43dd/8448eb:211c80319c", "a" * 128])
async def test_a_clients_own_name_comes_back(given: str) -> None:
    async with http_client(APP, headers=KEY) as client:
        answer = await client.get("/v1/models", headers={"x-request-id": given})
    assert answer.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", [b"", b"a b", b"caf\xc3\xa9", b"a" * 129, b"\xff", b"a\x1b[31m"])
async def test_a_name_that_is_no_good_in_a_log_is_replaced(given: bytes) -> None:
    async with http_client(APP, headers=KEY) as client:
        answer = await client.get("/v1/models", headers={b"x-request-id": given})
    assert answer.headers["x-request-id"].startswith("req_")


async def test_new_names_differ() -> None:
    async with http_client(APP, headers=KEY) as client:
        names = [(await client.get("/health")).headers["x-request-id"] for _ in range(5)]
    assert len(set(names)) == 5


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nope", 404), ("GET", "/v1/completions", 405), ("POST", "/v1/completions", 400)],
)
async def test_refusals_are_named_too(method: str, path: str, status: int) -> None:
    async with http_client(APP, headers=KEY) as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["x-request-id"].startswith("req_")
    async with http_client(APP) as client:
        assert "x-request-id" in (await client.request(method, path)).headers


async def test_the_openai_client_tells_the_name_of_an_answer_and_of_an_error() -> None:
    async with openai_client(APP, "key") as client:
        raw = await client.completions.with_raw_response.create(model=MODEL, prompt="a")
        assert raw.headers["x-request-id"] == raw.parse()._request_id
        mine = {"x-request-id": "mine"}
        async with client.completions.with_streaming_response.create(
            model=MODEL, prompt="a", stream=True, extra_headers=mine
        ) as streamed:
            assert streamed.headers["x-request-id"] == "mine"
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.completions.create(model="nobody", prompt="a", extra_headers=mine)
        assert unknown.value.request_id == "mine"


async def test_what_goes_wrong_is_logged_by_name(caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(ScriptedBackend(failure=ValueError("secret")))
    async with http_client(app) as client:
        with caplog.at_level(logging.ERROR):
            answer = await client.post(
                "/v1/completions", json={"prompt": "a"}, headers={"x-request-id": "mine"}
            )
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "mine")
    assert "request mine" in caplog.text
