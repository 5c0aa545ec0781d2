"""Whom a request comes from, where a proxy in front says so: the client's address, and its user.

    client ──> proxy, which asked for a login ──X-Forwarded-For, -Proto, -User──> ForwardedLayer

Anybody can send such headers. Only those of the proxies that the configuration names are believed,
by the address that the connection comes from; of others nothing is read. A proxy has to replace
what its own clients send under these names.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from legato.engine.errors import ConfigError

_USER = "legato.user"


class TrustedProxies:
    """Addresses of proxies; a client cannot have one of them."""

    def __init__(self, addresses: Sequence[str]) -> None:
        """Takes single addresses and networks, as 10.0.0.0/8.

        Raises:
            ConfigError: one of them is neither.
        """
        try:
            self._networks = [ip_network(address) for address in addresses]
        except ValueError as error:
            raise ConfigError(
                f"--forwarded-allow-ips: {error}; name addresses or networks, as 10.0.0.0/8"
            ) from None

    def __contains__(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client_of(self, hops: Sequence[str]) -> str | None:
        """The last address, nearest to us, that is no proxy's: those before it are hearsay."""
        for hop in reversed(hops):
            if hop not in self:
                return hop if _parsed(hop) is not None else None
        return None


class ForwardedLayer:
    """Corrects `scope` by what a trusted proxy says, and leaves all others' as it is."""

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = scope.get("client")
        if peer is not None and peer[0] in self._proxies:
            self._believe(scope, Headers(scope=scope))
        await self._app(scope, receive, send)

    def _believe(self, scope: Scope, headers: Headers) -> None:
        hops = ",".join(headers.getlist("x-forwarded-for")).split(",")
        client = self._proxies.client_of([hop.strip() for hop in hops])
        if client is not None:
            scope["client"] = (client, 0)
        if headers.get("x-forwarded-proto") in ("http", "https"):
            scope["scheme"] = headers["x-forwarded-proto"]
        users = headers.getlist("x-forwarded-user")
        if len(users) == 1:  # more: the proxy has not replaced its client's
            scope[_USER] = users[0].strip()


def forwarded_user(scope: Scope) -> str:
    """Who has logged in at the proxy; empty where nobody trusted names a user."""
    user: str = scope.get(_USER, "")
    return user


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed
