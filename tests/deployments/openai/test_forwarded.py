"""Whose word about a client is believed."""

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from legato.deployments.openai.auth import cache_salt, tenant
from legato.deployments.openai.forwarded import ForwardedLayer, TrustedProxies, forwarded_user
from legato.engine.errors import ConfigError

PROXIES = TrustedProxies(["192.0.2.1", "10.0.0.0/8", "2001:db8::/32"])
CLAIMS = {
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-proto": "https",
    "x-forwarded-user": "alice",
}


async def _seen(peer: str, headers: dict[str, str] | list[tuple[str, str]]) -> Scope:
    """What an application behind the layer is told of a request from `peer`."""
    seen: list[Scope] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = httpx.ASGITransport(ForwardedLayer(application, PROXIES), client=(peer, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.get("/", headers=httpx.Headers(headers))
    return seen[0]


@pytest.mark.parametrize("peer", ["192.0.2.1", "10.1.2.3", "2001:db8::5", "::ffff:10.1.2.3"])
async def test_a_trusted_proxy_says_who_the_client_is(peer: str) -> None:
    scope = await _seen(peer, CLAIMS)
    assert scope["client"] == ("203.0.113.9", 0)
    assert scope["scheme"] == "https"
    assert forwarded_user(scope) == "alice"


@pytest.mark.parametrize("peer", ["192.0.2.2", "127.0.0.1", "11.0.0.1", "::1", "unix", ""])
async def test_nobody_else_is_believed(peer: str) -> None:
    scope = await _seen(peer, CLAIMS)
    assert scope["client"] == (peer, 1)
    assert scope["scheme"] == "http"
    assert forwarded_user(scope) == ""
    assert tenant(scope) == b""


@pytest.mark.parametrize(
    ("claim", "client"),
    [
        ("1.1.1.1, 203.0.113.9, 10.0.0.7", "203.0.113.9"),  # what came before is hearsay
        ("10.0.0.7, 192.0.2.1", None),
        ("203.0.113.9, unknown", None),
        ("", None),
    ],
)
async def test_the_client_is_the_last_address_that_is_no_proxys(
    claim: str, client: str | None
) -> None:
    scope = await _seen("192.0.2.1", {"x-forwarded-for": claim})
    assert scope["client"][0] == (client or "192.0.2.1")


async def test_a_proxy_that_adds_to_its_clients_header_names_nobody() -> None:
    twice = [("x-forwarded-user", "alice"), ("x-forwarded-user", "bob")]
    assert forwarded_user(await _seen("192.0.2.1", twice)) == ""


async def test_users_of_one_key_are_told_apart_in_budgets_and_caches() -> None:
    alice = await _seen("192.0.2.1", CLAIMS)
    bob = await _seen("192.0.2.1", CLAIMS | {"x-forwarded-user": "bob"})
    key = {"legato.key_digest": b"key"}
    scopes: list[Scope] = [{}, alice, bob, key, {**alice, **key}, {**bob, **key}]
    assert len({tenant(scope) for scope in scopes}) == len(scopes)
    assert len({cache_salt(scope, None) for scope in scopes}) == len(scopes)
    assert tenant(alice) == tenant(await _seen("10.9.9.9", CLAIMS))


@pytest.mark.parametrize("address", ["proxy.example.com", "10.0.0.1/8", "*", ""])
def test_what_is_no_address_is_a_mistake_in_the_configuration(address: str) -> None:
    with pytest.raises(ConfigError, match="--forwarded-allow-ips"):
        TrustedProxies([address])
