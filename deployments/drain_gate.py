"""An ASGI layer that lets a router end in peace.

    open  -- close() -->  closed: new requests get 503 and Retry-After, those inside go on
                            '-- the last one has ended --> empty

Probes of life and metrics are answered to the end; /ready is not among them, so that whoever
spreads requests stops sending them here.
"""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from legato.deployments.openai.errors import ErrorBody, ErrorEnvelope, error_response, error_type

ALWAYS_OPEN = frozenset({"/health", "/live", "/ping", "/metrics"})
RETRY_AFTER_S = 5


class DrainGate:
    """Around a router's whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._is_closed = False
        self._num_inside = 0
        self._changed = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in ALWAYS_OPEN:
            await self._app(scope, receive, send)
            return
        if self._is_closed:
            await _refusal()(scope, receive, send)
            return
        self._num_inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._num_inside -= 1
            self._changed.set()

    def close(self) -> None:
        """From here on, nobody is let in."""
        self._is_closed = True

    async def wait_until_empty(self, timeout_s: float) -> bool:
        """Returns, as soon as nobody is inside or the time is over, whether nobody is."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._num_inside:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True


def _refusal() -> ASGIApp:
    body = ErrorBody("this server is shutting down; try again", error_type(503))
    # The connection ends too: the next request of a client that keeps it would come here as well.
    headers = {"retry-after": str(RETRY_AFTER_S), "connection": "close"}
    return error_response(503, ErrorEnvelope(body), headers)
