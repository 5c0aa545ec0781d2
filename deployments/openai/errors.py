"""What an error looks like over HTTP: OpenAI's envelope, for every status and every path.

    {"error": {"message": ..., "type": ..., "param": ... or null, "code": a string or null}}

| raised | status | type |
|---|---|---|
| RequestError | 400, 404 for what is not here | invalid_request_error, not_found_error |
| CapacityError | 503 and Retry-After | server_error |
| RateLimitError | 429 and Retry-After | rate_limit_error |
| EngineError, ConfigError | 500 | server_error |
| HTTPException | its own | by status |
| anything else | 500, logged, with a generic text | server_error |
"""

import logging
import math

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from legato.deployments.openai.request_id import HEADER, name_request, request_id
from legato.engine.errors import (
    CapacityError,
    LegatoError,
    NotFoundError,
    RateLimitError,
    RequestError,
)

logger = logging.getLogger(__name__)

_TYPE_BY_STATUS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class ErrorBody(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorEnvelope(msgspec.Struct, frozen=True):
    error: ErrorBody


def error_type(status: int) -> str:
    """OpenAI's error type for a status."""
    return _TYPE_BY_STATUS.get(status, "invalid_request_error" if status < 500 else "server_error")


def status_of(error: LegatoError) -> int:
    match error:
        case NotFoundError():
            return 404
        case RequestError():
            return 400
        case RateLimitError():
            return 429
        case CapacityError():
            return 503
        case _:
            return 500


def describe(error: BaseException) -> tuple[int, ErrorEnvelope]:
    """Status and envelope of any error; the text of an unexpected one stays inside."""
    if not isinstance(error, LegatoError):
        return 500, ErrorEnvelope(ErrorBody("internal server error", error_type(500)))
    status = status_of(error)
    param = error.param if isinstance(error, RequestError) else None
    code = error.code if isinstance(error, RequestError | CapacityError) else None
    text = str(error)
    if param is not None and not text.startswith(param):
        text = f"{param}: {text}"
    return status, ErrorEnvelope(ErrorBody(text, error_type(status), param, code))


def error_response(
    status: int, envelope: ErrorEnvelope, headers: dict[str, str] | None = None
) -> Response:
    body = msgspec.json.encode(envelope)
    return Response(body, status, headers, media_type="application/json")


def respond_to_legato_error(request: Request, error: Exception) -> Response:
    """Starlette's exception handler for the errors of our tree."""
    status, envelope = describe(error)
    if status == 500:
        logger.error("request %s failed: %s", request_id(request.scope), error)
    headers = None
    if isinstance(error, CapacityError):
        headers = {"retry-after": str(max(1, math.ceil(error.retry_after_s)))}
    return error_response(status, envelope, headers)


def respond_to_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's exception handler for unknown paths, wrong methods and too large bodies."""
    assert isinstance(error, HTTPException)
    message = error.detail
    if error.status_code == 404:
        message = f"there is no {request.scope['path'][:200]} here"
    elif error.status_code == 405:
        message = f"{request.method[:20]} is not allowed for {request.scope['path'][:200]}"
    body = ErrorBody(message, error_type(error.status_code))
    headers = dict(error.headers) if error.headers else None
    return error_response(error.status_code, ErrorEnvelope(body), headers)


async def refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Nothing here speaks WebSocket; whoever asks for one is told, where the server can tell it."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close"})
        return
    text = "no WebSockets are served: send plain requests, with 'stream' for answers in pieces"
    envelope = ErrorEnvelope(ErrorBody(text, error_type(400)))
    await error_response(400, envelope)(scope, receive, send)


class ErrorBoundary:
    """The outermost layer: an unexpected exception is logged, and the client gets an answer.

    It names the request, too: it sees everything that is sent already, and a layer more would be
    paid for by each token of a stream.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await refuse_websocket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = name_request(scope)
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            if not started:  # it is the answer's head
                headers = [*message.get("headers", ()), (HEADER, name.encode())]
                message = {**message, "headers": headers}
                started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            logger.exception("unexpected error in %s, request %s", scope["path"][:200], name)
            if not started:
                await error_response(*describe(error))(scope, receive, send_and_note)
