"""Who is let in."""

import httpx
import openai
import pytest

from legato.deployments.openai.auth import PUBLIC_PATHS, cache_salt
from legato.deployments.openai.service import ApiKeys
from legato.tests.deployments.openai.harness import MODEL, http_client, make_app, openai_client

APP = make_app(api_keys=["first-key", "schlüssel"])


async def test_every_accepted_key_opens_the_door() -> None:
    async with openai_client(APP, "first-key") as client:
        assert (await client.models.list()).data[0].id == MODEL
    async with http_client(APP) as client:
        header = {b"authorization": "bearer schlüssel".encode()}
        assert (await client.get("/v1/models", headers=header)).status_code == 200


async def test_a_wrong_key_is_an_authentication_error_with_its_code() -> None:
    async with openai_client(APP, "wrong") as client:
        with pytest.raises(openai.AuthenticationError) as refusal:
            await client.models.list()
    assert refusal.value.code == "invalid_api_key"
    assert refusal.value.type == "authentication_error"


HEADERS: list[list[tuple[str, str]]] = [
    [],
    [("authorization", "")],
    [("authorization", "first-key")],
    [("authorization", "Basic first-key")],
    [("authorization", "Bearer ")],
    [("authorization", "Bearer first-keyy")],
    [("authorization", "Bearer first-key"), ("authorization", "Bearer first-key")],
]


@pytest.mark.parametrize("headers", HEADERS)
async def test_what_is_no_single_bearer_token_is_refused(headers: list[tuple[str, str]]) -> None:
    async with http_client(APP) as client:
        answer = await client.get("/v1/models", headers=httpx.Headers(headers))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_only_probes_and_metrics_are_open_and_no_header_can_say_otherwise() -> None:
    closed = (
        "/v1/models",
        "/v1/completions",
        "/tokenize",
        "/load",
        "/version",
        "/nope",
        "/health/",
    )
    async with http_client(APP) as client:
        for path in PUBLIC_PATHS:
            assert (await client.get(path)).status_code == 200
        for path in closed:
            headers = {"host": "test/health?", "x-original-url": "/health"}
            assert (await client.get(path, headers=headers)).status_code == 401


async def test_without_keys_everybody_is_let_in() -> None:
    async with http_client(make_app()) as client:
        assert (await client.get("/v1/models")).status_code == 200


def test_an_empty_key_is_never_accepted() -> None:
    assert ApiKeys.from_plain(["", "a"]).match(b"") is None


def test_salts_differ_by_tenant_and_by_the_clients_salt() -> None:
    scopes = [{}, {"legato.key_digest": b"a"}, {"legato.key_digest": b"b"}]
    salts = {cache_salt(scope, salt) for scope in scopes for salt in (None, "x", "y")}
    assert len(salts) == 9
    assert cache_salt({}, None) == b""
