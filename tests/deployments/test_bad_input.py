"""Abuse over real HTTP: the right 4xx that names the field, and no effect on a neighbour."""

import asyncio
import json
import socket
from typing import Any

import httpx
import pytest

from legato.tests.deployments.server import Server, until

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HUGE = 10**400
NEIGHBOURS = [f"Neighbour {i} asks for a long answer about " + "rivers " * i for i in range(6)]
TALK = [{"role": "user", "content": "Hello"}]


def _each(name: str, *values: Any) -> list[tuple[dict[str, Any], str]]:
    """A case for each value of one field, which is to be named."""
    return [({name: value}, name) for value in values]


# Bodies that are no request at all, and a word of what the message has to say.
ILL_FORMED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "JSON"),
    "no JSON": (b"prompt=hello&max_tokens=3", "JSON"),
    "cut off": (b'{"prompt": "Hel', "JSON"),
    "two objects": (b'{"prompt": "a"}{"prompt": "b"}', "JSON"),
    "not UTF-8": (b'{"prompt": "\xff\xfe"}', "JSON"),
    "a lone surrogate": (b'{"prompt": "\\ud800"}', "JSON"),
    "NaN": (b'{"prompt": "a", "temperature": NaN}', "JSON"),
    "infinity": (b'{"prompt": "a", "temperature": 1e999}', "JSON"),
    "a deep nest": (b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "JSON"),
    "a deep nest of objects": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "JSON"),
    "compressed": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "JSON"),
    "a list": (b'["prompt"]', "object"),
    "null": (b"null", "object"),
    "a number": (b"7", "object"),
}

# Fields on top of a good completion request, and the field that the answer has to name.
COMPLETION_FIELDS: list[tuple[dict[str, Any], str]] = [
    *_each("prompt", None, 5, True, {}, {"text": "a"}, [None]),
    *_each("prompt", [], "", [[]], ["a", 1], [[1], "a"], [1.5]),
    *_each("prompt", [-1], [10**9], [HUGE], [True], [[5, -7]]),
    ({"prompt": ["a"] * 257}, "prompt"),
    ({"prompt": ["a", "b", "c"], "n": 128}, "n"),
    *_each("n", 0, -1, 129, 1.5, "2", True, HUGE, [1]),
    *_each("max_tokens", 0, -1, 2.5, "9", HUGE, True, []),
    *_each("temperature", -0.1, 101, "hot", True, []),
    *_each("top_p", 0, -1, 1.1, "1"),
    *_each("top_k", -2, 1.5, "5", HUGE),
    *_each("min_p", -0.1, 1.1, "0"),
    *_each("presence_penalty", -2.1, 2.1, "1"),
    *_each("frequency_penalty", -2.1, 2.1, {}),
    *_each("repetition_penalty", 0, -1, 1e6, "x"),
    *_each("seed", 1 << 63, HUGE, 1.5, "7", True),
    *_each("stop", "", ["a", ""], ["x"] * 17, 5, [1], {"a": 1}),
    ({"stop": "x" * 1025}, "stop"),
    *_each("stop_token_ids", [-1], [10**9], [HUGE], ["a"]),
    ({"stop_token_ids": [5] * 257}, "stop_token_ids"),
    *_each("logit_bias", {"-1": 1}, {"1000000000": 1}, [5]),
    *_each("logit_bias", {"5": 101}, {"5": -101}, {"a": 1}),
    *_each("logit_bias", {"5": "x"}, {str(HUGE): 1}, "5"),
    ({"logit_bias": {str(i): 0 for i in range(1025)}}, "logit_bias"),
    *_each("logprobs", -1, 21, "5", True),
    *_each("min_tokens", -1, 17, "1"),
    *_each("priority", 1 << 31, "high", HUGE),
    *_each("stream", "yes", 1),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": []}, "stream_options"),
    *_each("prompt_logprobs", -1, 21, "5", 1.5),
    ({"prompt_logprobs": 0, "stream": True}, "prompt_logprobs"),
    *_each("allowed_token_ids", [], [-1], [10**9], [HUGE], ["a"], 5),
    ({"allowed_token_ids": [5], "guided_choice": ["a"]}, "allowed_token_ids"),
    *_each("bad_words", [""], ["x"] * 65, ["x" * 129], [5], "word"),
    *_each("truncate_prompt_tokens", -2, 0, 10**9, "5"),
    ({"truncation_side": "left"}, "truncation_side"),
    ({"truncation_side": "middle", "truncate_prompt_tokens": 5}, "truncation_side"),
    *_each("return_prompt_text", True),
    *_each("use_beam_search", True),
    *_each("cache_salt", ""),
    ({"model": 5}, "model"),
    ({"cache_salt": 5}, "cache_salt"),
    ({"kv_transfer_params": {"remote_block_ids": [0]}}, "kv_transfer_params"),
    ({"request_id": "mine"}, "request_id"),
    ({"suffix": "end"}, "suffix"),
    ({"best_of": 3}, "best_of"),
]

CHAT_FIELDS: list[tuple[dict[str, Any], str]] = [
    *_each("messages", None, [], "hi", {}, [5], ["hi"], [None]),
    ({"messages": [{"content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "king", "content": "hi"}]}, "messages[0].role"),
    ({"messages": [*TALK, {"role": "user", "content": 5}]}, "messages[1].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "logprobs"),
    ({"logprobs": 3}, "logprobs"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"response_format": {"type": "xml"}}, "response_format"),
    ({"chat_template": "{{ 1 }}"}, "chat_template"),
    ({"echo": True}, "echo"),
    ({"reasoning_effort": 5}, "reasoning_effort"),
    ({"documents": "text"}, "documents"),
    ({"chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs"),
    ({"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message"),
]

PATHS_AND_METHODS = [
    ("GET", "/index.php", 404),
    ("GET", "/nope", 404),
    ("POST", "/v1", 404),
    ("POST", "/v1/completions/", 404),
    ("POST", "//v1/completions", 404),
    ("POST", "/v1/images/generations", 404),
    ("GET", "/v1/models/nobody", 404),
    ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404),
    ("GET", "/%00%ff", 404),
    ("GET", "/" + "a" * 20_000, 404),
    ("GET", COMPLETIONS, 405),
    ("DELETE", CHAT, 405),
    ("POST", "/v1/models", 405),
    ("POST", "/metrics", 405),
    ("PUT", "/health", 405),
]

RAW: dict[str, bytes] = {
    "noise": bytes(range(256)) * 8,
    "TLS": bytes.fromhex("16030100a5010000a10303") + b"\0" * 160,
    "HTTP/0.9": b"GET /nope\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no such version": b"GET /health HTTP/9.9\r\n\r\n",
    "a header without a colon": b"GET /health HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",
    "a header of a megabyte": b"GET /health HTTP/1.1\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
    "a negative length": b"POST /v1/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n{}",
    "two lengths": b"POST /v1/completions HTTP/1.1\r\nContent-Length: 2\r\n"
    b"Content-Length: 9\r\n\r\n{}",
    "length and chunks": b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a broken chunk": b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc\r\n",
    "half a body": b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n{",
    "a WebSocket": b"GET /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "half a head": b"POST /v1/comple",
    "nothing": b"",
}
NOT_OURS = ("invalid_request_error", "not_found_error")


def _name(case: object) -> str | None:
    """A short test id for a dictionary of fields."""
    return repr(case)[:60] if isinstance(case, dict) else None


def _refusal(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer, after a look at its envelope."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"] and len(error["message"]) < 2000
    assert error["code"] is None or isinstance(error["code"], str)
    return error


@pytest.mark.parametrize("case", ILL_FORMED)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/tokenize"])
def test_an_ill_formed_body_is_refused_with_a_reason(server: Server, path: str, case: str) -> None:
    body, word = ILL_FORMED[case]
    answer = httpx.post(server.url + path, content=body, timeout=20)
    assert word in _refusal(answer, 400)["message"]


@pytest.mark.parametrize(("fields", "named"), COMPLETION_FIELDS, ids=_name)
def test_a_wrong_field_of_a_completion_is_named(
    server: Server, fields: dict[str, Any], named: str
) -> None:
    body = {"prompt": "Hello", "max_tokens": 4, **fields}
    if "min_tokens" in fields:
        body["max_tokens"] = 16
    error = _refusal(httpx.post(server.url + COMPLETIONS, content=json.dumps(body)), 400)
    _check_named(error, named)


@pytest.mark.parametrize(("fields", "named"), CHAT_FIELDS, ids=_name)
def test_a_wrong_field_of_a_chat_is_named(
    server: Server, fields: dict[str, Any], named: str
) -> None:
    body = {"messages": TALK, "max_tokens": 4, **fields}
    _check_named(_refusal(httpx.post(server.url + CHAT, json=body), 400), named)


def _check_named(error: dict[str, Any], named: str) -> None:
    assert (error["param"] or "").startswith(named), error
    assert named.partition("[")[0] in error["message"]


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        (CHAT, {}, "messages"),
        (COMPLETIONS, {"max_tokens": 4}, "prompt"),
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": 5}, "prompt"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [10**9]}, "tokens"),
        ("/detokenize", {"tokens": "abc"}, "tokens"),
    ],
)
def test_what_is_missing_or_wrong_elsewhere_is_named_too(
    server: Server, path: str, body: dict[str, Any], named: str
) -> None:
    _check_named(_refusal(httpx.post(server.url + path, json=body), 400), named)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/tokenize", "/detokenize"])
def test_an_unknown_model_is_not_found(server: Server, path: str) -> None:
    body = {"model": "x" * 5000, "prompt": "a", "messages": TALK, "tokens": [1]}
    error = _refusal(httpx.post(server.url + path, json=body), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")


def test_what_does_not_fit_the_context_is_refused_with_the_sizes(server: Server) -> None:
    limit = server.model()["max_model_len"]
    too_long: list[dict[str, Any]] = [
        {"prompt": [5] * limit, "max_tokens": 1},
        {"prompt": [5] * 10, "max_tokens": limit},
        {"prompt": "word " * limit, "max_tokens": 1},
        {"prompt": "a" * (8 << 20), "max_tokens": 1},
        {"prompt": ["short", [5] * (limit + 1)][1:], "max_tokens": 1},
    ]
    for body in too_long:
        answer = httpx.post(server.url + COMPLETIONS, json=body, timeout=30)
        error = _refusal(answer, 400)
        assert error["code"] == "context_length_exceeded"
        assert str(limit) in error["message"]
    chat = {"messages": [{"role": "user", "content": "word " * limit}]}
    assert _refusal(httpx.post(server.url + CHAT, json=chat), 400)["code"] == (
        "context_length_exceeded"
    )


def test_a_body_that_is_too_large_is_refused_declared_or_not(server: Server) -> None:
    size = (16 << 20) + 1
    declared = httpx.post(server.url + COMPLETIONS, content=b"a" * size, timeout=30)
    _refusal(declared, 413)
    chunks = (b"a" * (1 << 20) for _ in range(17))
    chunked = httpx.post(server.url + COMPLETIONS, content=chunks, timeout=30)
    _refusal(chunked, 413)


@pytest.mark.parametrize(("method", "path", "status"), PATHS_AND_METHODS)
def test_wrong_paths_and_methods_get_the_envelope_too(
    server: Server, method: str, path: str, status: int
) -> None:
    error = _refusal(httpx.request(method, server.url + path), status)
    assert error["type"] in NOT_OURS


@pytest.mark.parametrize("case", RAW)
def test_garbage_on_the_socket_ends_in_4xx_or_a_closed_connection(
    server: Server, case: str
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        received = b""
        try:
            sock.sendall(RAW[case])
            sock.shutdown(socket.SHUT_WR)
            while chunk := sock.recv(65536):
                received += chunk
        except OSError:
            pass  # it was closed while this end still wrote
    if received:
        head, _, body = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 4"), received[:300]
        assert json.loads(body)["error"]["type"] in NOT_OURS
    assert server.get("/health").status_code == 200


def test_clients_that_stall_do_not_keep_others_waiting(server: Server) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n{"
    stalled = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    try:
        for sock in stalled:
            sock.sendall(head)
        answer = httpx.post(
            server.url + COMPLETIONS, json={"prompt": "Hello", "max_tokens": 2}, timeout=10
        )
        assert answer.status_code == 200
    finally:
        for sock in stalled:
            sock.close()
    server.wait_until_idle()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_everything_soon(server: Server, stream: bool) -> None:
    """At once or in the middle of the answer, with a short prompt or a long one."""
    limit = server.model()["max_model_len"]
    num_aborted = _num_aborted(server)
    for num_tokens in (5, limit // 2):
        content = json.dumps(
            {
                "prompt": [5] * num_tokens,
                "max_tokens": limit // 2 - 1,
                "ignore_eos": True,
                "stream": stream,
                "n": 4,
            }
        ).encode()
        head = f"POST {COMPLETIONS} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(content)}\r\n\r\n"
        for leaves_at_once in (True, False):
            server.wait_until_idle()  # or what is at work could be the one before
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
                sock.sendall(head.encode() + content)
                if not leaves_at_once:
                    until(lambda: _num_running(server) > 0, 10, "the request is at work")
    until(lambda: _num_aborted(server) >= num_aborted + 8, 5, "both that were at work are given up")
    assert server.wait_until_idle() < 5


def _num_aborted(server: Server) -> float:
    return server.total("vllm:request_success_total", finished_reason="abort")


def _num_running(server: Server) -> float:
    return sum(server.gauge("vllm:num_requests_running").values())


async def test_greedy_neighbours_get_the_same_tokens_with_and_without_abuse(
    server: Server,
) -> None:
    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
        undisturbed = await _neighbours(client)
        abuse = asyncio.create_task(_abuse(client))
        disturbed = [await _neighbours(client) for _ in range(3)]
        abuse.cancel()
        statuses = (await asyncio.gather(abuse, return_exceptions=True))[0]
    assert disturbed == [undisturbed] * 3
    assert isinstance(statuses, asyncio.CancelledError)
    assert server.get("/ready").status_code == 200
    server.wait_until_idle()


async def _neighbours(client: httpx.AsyncClient) -> list[list[int]]:
    async def ask(prompt: str) -> list[int]:
        body = {
            "prompt": prompt,
            "max_tokens": 200,
            "temperature": 0,
            "ignore_eos": True,
            "return_token_ids": True,
        }
        answer = await client.post(COMPLETIONS, json=body)
        token_ids: list[int] = answer.json()["choices"][0]["token_ids"]
        return token_ids

    return await asyncio.gather(*map(ask, NEIGHBOURS))


async def _abuse(client: httpx.AsyncClient) -> None:
    """Every bad request there is, and expensive good ones that are given up, without end."""
    bad = [
        json.dumps({"prompt": "a", "max_tokens": 4, **fields}).encode()
        for fields, _ in COMPLETION_FIELDS
    ] + [body for body, _ in ILL_FORMED.values()]
    costly = {"prompt": [7] * 300, "max_tokens": 300, "n": 8, "temperature": 2, "logprobs": 20}
    while True:
        for i in range(0, len(bad), 8):
            posts = [client.post(COMPLETIONS, content=body) for body in bad[i : i + 8]]
            for answer in await asyncio.gather(*posts):
                assert 400 <= answer.status_code < 500, answer.text
            async with client.stream("POST", COMPLETIONS, json={**costly, "stream": True}) as left:
                assert left.status_code == 200
