"""Which error becomes which status and envelope."""

import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from legato.deployments.openai.errors import (
    describe,
    error_type,
    respond_to_http_exception,
    respond_to_legato_error,
)
from legato.engine.errors import (
    ConfigError,
    ContextLengthError,
    InvalidRequestError,
    LegatoError,
    ModelNotFoundError,
    NoWorkerError,
    OverloadedError,
    RateLimitError,
    WorkerLostError,
)
from legato.tests.deployments.openai.harness import make_app

REQUEST = Request({"type": "http", "method": "GET", "path": "/x" * 300, "headers": []})


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (InvalidRequestError("x"), 400, "invalid_request_error", None),
        (ContextLengthError("x"), 400, "invalid_request_error", "context_length_exceeded"),
        (ModelNotFoundError("x"), 404, "not_found_error", "model_not_found"),
        (OverloadedError("x"), 503, "server_error", None),
        (NoWorkerError("x"), 503, "server_error", None),
        (RateLimitError("x"), 429, "rate_limit_error", "rate_limit_exceeded"),
        (WorkerLostError("x"), 500, "server_error", None),
        (ConfigError("x"), 500, "server_error", None),
    ],
)
def test_each_branch_of_the_error_tree_has_its_status(
    error: LegatoError, status: int, kind: str, code: str | None
) -> None:
    answer = respond_to_legato_error(REQUEST, error)
    body = json.loads(bytes(answer.body))["error"]
    assert answer.status_code == status
    assert body == {"message": "x", "type": kind, "param": None, "code": code}


def test_the_time_to_wait_is_given_in_whole_seconds_and_never_zero() -> None:
    for retry_after_s, header in ((0.0, "1"), (1.2, "2"), (30.0, "30")):
        answer = respond_to_legato_error(REQUEST, OverloadedError("full", retry_after_s))
        assert answer.headers["retry-after"] == header


def test_the_field_at_fault_is_named_in_the_message_too() -> None:
    _, envelope = describe(InvalidRequestError("must be at least 1", "n"))
    assert (envelope.error.message, envelope.error.param) == ("n: must be at least 1", "n")


def test_a_long_path_is_not_sent_back_whole() -> None:
    answer = respond_to_http_exception(REQUEST, HTTPException(404))
    assert len(answer.body) < 400


def test_statuses_have_openais_types() -> None:
    assert error_type(401) == "authentication_error"
    assert error_type(413) == "invalid_request_error"
    assert error_type(429) == "rate_limit_error"
    assert error_type(503) == "server_error"


@pytest.mark.parametrize("can_be_told", [True, False])
async def test_an_upgrade_to_a_websocket_is_refused_in_words_where_the_server_has_them(
    can_be_told: bool,
) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    extensions: dict[str, Any] = {"websocket.http.response": {}} if can_be_told else {}
    scope: dict[str, Any] = {
        "type": "websocket",
        "path": "/v1/realtime",
        "headers": [],
        "extensions": extensions,
    }
    await make_app(api_keys=["key"])(scope, receive, send)
    if can_be_told:
        head, body = sent
        assert head["status"] == 400
        assert "WebSocket" in json.loads(body["body"])["error"]["message"]
    else:
        assert sent == [{"type": "websocket.close"}]
