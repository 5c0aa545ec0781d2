"""API keys, as an ASGI layer: every path needs one, but for a short public list.

The decision reads `scope["path"]` alone, which no header can change. The digest of the key that
was accepted is left in the scope: it is the tenant that the prefix cache is salted with.
"""

import hashlib

from starlette.types import ASGIApp, Receive, Scope, Send

from legato.deployments.openai.errors import ErrorBody, ErrorEnvelope, error_response, error_type
from legato.deployments.openai.service import ApiKeys

# Probes and scrapers carry no key. /version is not here: it would tell an attacker what to try.
PUBLIC_PATHS = frozenset({"/health", "/ping", "/live", "/ready", "/metrics"})
_TENANT = "legato.tenant"
_SCHEME = b"bearer "


class AuthenticationLayer:
    def __init__(
        self, app: ASGIApp, api_keys: ApiKeys, public_paths: frozenset[str] = PUBLIC_PATHS
    ) -> None:
        self._app = app
        self._api_keys = api_keys
        self._public_paths = public_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = not self._api_keys.digests or scope["type"] == "lifespan"
        if not is_open and scope["path"] not in self._public_paths:
            digest = self._api_keys.match(_bearer_token(scope))
            if digest is None:
                await _refusal()(scope, receive, send)
                return
            scope[_TENANT] = digest
        await self._app(scope, receive, send)


def tenant(scope: Scope) -> bytes:
    """Whose request this is: the digest of its key, or nothing where no key is asked for."""
    digest: bytes = scope.get(_TENANT, b"")
    return digest


def cache_salt(scope: Scope, client_salt: str | None) -> bytes:
    """What separates this client's prefix cache from others': its key, and the salt it sends."""
    digest = tenant(scope)
    if not digest and not client_salt:
        return b""
    return hashlib.sha256(digest + b"/" + (client_salt or "").encode()).digest()


def _bearer_token(scope: Scope) -> bytes:
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1 or not values[0].lower().startswith(_SCHEME):
        return b""
    token: bytes = values[0][len(_SCHEME) :].strip()
    return token


def _refusal() -> ASGIApp:
    message = "missing or wrong API key: send it as 'Authorization: Bearer KEY'"
    body = ErrorBody(message, error_type(401), None, "invalid_api_key")
    return error_response(401, ErrorEnvelope(body), {"www-authenticate": "Bearer"})
