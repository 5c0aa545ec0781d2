"""Requests of all kinds to a real cluster, so that all that can be counted is counted."""

import uuid
from contextlib import suppress
from typing import Any

import httpx

from legato.tests.deployments.server import Server, until
from legato.tests.k8s.conftest import API_KEY

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
FORM = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": FORM, "strict": True}}
LONG: dict[str, Any] = {"prompt": "Once upon a time", "max_tokens": 64, "ignore_eos": True}
REFUSED: list[tuple[str, Any, int]] = [
    (CHAT, {"messages": []}, 400),
    (COMPLETIONS, {"prompt": "a", "temperature": -1}, 400),
    (COMPLETIONS, {"prompt": "a", "model": "nobody's"}, 404),
    ("/v1/nothing", {}, 404),
]


def client(server: Server, **headers: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {API_KEY}"} | headers
    return httpx.Client(base_url=server.url, headers=headers, timeout=60)


def work(server: Server) -> None:
    """Answers, in one piece and streamed, in a form, given up and refused; and handovers."""
    with client(server) as http:
        assert http.post(CHAT, json={"messages": MESSAGES}).status_code == 200
        answer = http.post(CHAT, json={"messages": MESSAGES, "response_format": FORMAT})
        assert answer.status_code == 200
        _leave_early(http)
        for path, body, status in REFUSED:
            assert http.post(path, json=body).status_code == status
        until(lambda: _is_handed_over(server, http), 30, "a sequence is handed over")


def _leave_early(http: httpx.Client) -> None:
    with http.stream("POST", COMPLETIONS, json=LONG | {"stream": True, "n": 4}) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")


def _is_handed_over(server: Server, http: httpx.Client) -> bool:
    """Asks once more, and whether the gap of a handover has been measured."""
    assert http.post(COMPLETIONS, json=LONG | {"n": 2}).status_code == 200
    return server.total("legato_handover_gap_seconds_count") > 0


def strange_requests(server: Server) -> None:
    """Everything that a client can name, under names that nobody has used before."""
    name = uuid.uuid4().hex
    given = {"x-request-id": name, "x-forwarded-user": name, "user-agent": name}
    with client(server, **given) as http:
        for path in (f"/v1/{name}", f"/{name}/metrics", f"/v1/models/{name}", f"/metrics?{name}"):
            http.get(path)
        http.delete(f"/v1/responses/{name}")
        http.request(name[:8].upper(), CHAT)
        fields = {"user": name, "cache_salt": name, "stop": [name], "metadata": {name: name}}
        for body in ({"model": name}, fields, {"max_tokens": 4, "response_format": FORMAT}):
            http.post(CHAT, json={"messages": [{"role": "user", "content": name}], **body})
        with suppress(httpx.HTTPError):
            http.post(CHAT, content=name)
    with client(server, authorization=f"Bearer {name}") as stranger:
        assert stranger.get("/v1/models").status_code == 401
