"""API keys, as an ASGI layer: every path needs one, but for a short public list.

The decision reads `scope["path"]` alone, which no header can change. The digest of the key that
was accepted is left in the scope. With the user whom a trusted proxy names it is the tenant: what
budgets, kept responses and the prefix cache's salt are told apart by.
"""

import hashlib

from starlette.types import ASGIApp, Receive, Scope, Send

from legato.deployments.openai.errors import ErrorBody, ErrorEnvelope, error_response, error_type
from legato.deployments.openai.forwarded import forwarded_user
from legato.deployments.openai.service import ApiKeys

# Probes and scrapers carry no key. /version is not here: it would tell an attacker what to try.
PUBLIC_PATHS = frozenset({"/health", "/ping", "/live", "/ready", "/metrics"})
_KEY_DIGEST = "legato.key_digest"
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
            scope[_KEY_DIGEST] = digest
        await self._app(scope, receive, send)


def tenant(scope: Scope) -> bytes:
    """Whose request this is: a digest of its key and user; nothing where there is neither."""
    digest: bytes = scope.get(_KEY_DIGEST, b"")
    user = forwarded_user(scope)
    return hashlib.sha256(digest + b"/" + user.encode()).digest() if user else digest


def cache_salt(scope: Scope, client_salt: str | None) -> bytes:
    """What separates this client's prefix cache from others': who it is, and the salt it sends."""
    client = tenant(scope)
    if not client and not client_salt:
        return b""
    return hashlib.sha256(client + b"/" + (client_salt or "").encode()).digest()


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
