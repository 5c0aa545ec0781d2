"""nginx with the configuration that we ship, in front of a real cluster."""

import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest

from legato.deployments.config import ServerOptions
from legato.tests.deployments.server import Server, free_port, until
from legato.tests.k8s.conftest import API_KEY
from legato.tests.k8s.nginx import SHIPPED, Nginx, login_service, running_nginx, serving

COMPLETIONS = "/v1/completions"
NUM_CHUNKS = 5
# More than sockets and proxies between the router and a client that does not read can hold.
ENDLESS: dict[str, Any] = {
    "prompt": "Once",
    "max_tokens": 1900,
    "n": 64,
    "stream": True,
    # Behind its end the model writes special tokens: without a text they would not be sent.
    **{"ignore_eos": True, "return_token_ids": True, "skip_special_tokens": False},
}


@pytest.fixture(scope="module")
def login_port() -> Iterator[int]:
    with login_service() as port:
        yield port


@pytest.fixture(scope="module")
def nginx(
    tmp_path_factory: pytest.TempPathFactory, server: Server, login_port: int
) -> Iterator[Nginx]:
    folder = tmp_path_factory.mktemp("nginx")
    with running_nginx(folder, server.port, login_port, API_KEY) as running:
        yield running
        running.quit()
        assert running.wait() == 0
        assert not re.search(r"\[(emerg|alert|crit)\]", running.errors()), running.errors()


def _error(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


# ---------------------------------------------------------------- who gets through


def test_who_is_not_logged_in_is_refused_as_by_an_openai_api(nginx: Nginx) -> None:
    with nginx.client() as client, nginx.client("mallory") as stranger:
        for answer in (client.get("/v1/models"), stranger.get("/v1/models")):
            assert answer.status_code == 401
            assert _error(answer)["type"] == "authentication_error"
        # Nor does Legato's own key open the door: it is between nginx and Legato.
        key = {"authorization": f"Bearer {API_KEY}"}
        assert client.get("/v1/models", headers=key).status_code == 401


def test_a_browser_is_led_to_the_login_and_back(nginx: Nginx) -> None:
    with nginx.client() as client:
        answer = client.get("/?a=b", headers={"accept": "text/html,*/*"})
    assert answer.status_code == 302
    assert answer.headers["location"].endswith("/oauth2/start?rd=/?a=b")


def test_who_is_logged_in_gets_through_without_knowing_the_key(nginx: Nginx) -> None:
    with nginx.client("alice") as client:
        (model,) = client.get("/v1/models").json()["data"]
        answer = client.post(
            "/v1/chat/completions",
            json={"model": model["id"], "messages": [{"role": "user", "content": "Hello"}]},
        )
        assert answer.json()["choices"][0]["message"]["content"]
        assert client.get("/").headers["content-type"].startswith("text/html")


def test_what_legato_refuses_is_told_in_its_own_words(nginx: Nginx) -> None:
    with nginx.client("alice") as client:
        answer = client.post(COMPLETIONS, json={"model": "nobody's", "prompt": "a"})
    assert answer.status_code == 404
    assert "nobody's" in _error(answer)["message"]


@pytest.mark.parametrize("path", ["/metrics", "/ready", "/live", "/load", "/oauth2/auth"])
def test_probes_and_metrics_are_not_for_outside(nginx: Nginx, path: str) -> None:
    with nginx.client("alice") as client:
        assert client.get(path).status_code == 404


def test_plain_http_is_led_to_tls(nginx: Nginx) -> None:
    answer = httpx.get(f"http://127.0.0.1:{nginx.plain_port}/v1/models")
    assert answer.status_code == 308
    assert answer.headers["location"] == "https://127.0.0.1/v1/models"


# ---------------------------------------------------------------- who somebody is


def _responses_status(client: httpx.Client, path: str, **headers: str) -> int:
    return client.get(path, headers=headers).status_code


def test_users_are_told_apart_and_nobody_passes_for_another(nginx: Nginx, server: Server) -> None:
    """By responses that are kept: each user finds but their own."""
    key = {"authorization": f"Bearer {API_KEY}"}
    with nginx.client("alice") as alice, nginx.client("bob") as bob:
        kept = alice.post("/v1/responses", json={"input": "Hello", "max_output_tokens": 16}).json()
        path = f"/v1/responses/{kept['id']}"
        assert _responses_status(alice, path) == 200
        assert _responses_status(bob, path) == 404
        for name in ("X-Forwarded-User", "x_forwarded_user", "X-Auth-Request-User"):
            assert _responses_status(bob, path, **{name: "alice"}) == 404
            assert _responses_status(alice, path, **{name: "bob"}) == 200
    # Past the proxy: who comes from its address is it, who comes from another is believed nothing.
    for address, status in (("127.0.0.1", 200), ("127.0.0.2", 404)):
        transport = httpx.HTTPTransport(local_address=address)
        with httpx.Client(transport=transport, base_url=server.url, headers=key) as direct:
            assert _responses_status(direct, path, **{"X-Forwarded-User": "alice"}) == status
            spoofed = {"X-Forwarded-User": "alice", "X-Forwarded-For": "127.0.0.1"}
            assert _responses_status(direct, path, **spoofed) == status
            assert _responses_status(direct, path) == 404


# ---------------------------------------------------------------- streams


def test_a_first_token_is_there_while_the_rest_is_generated_and_leaving_ends_it(
    nginx: Nginx, server: Server
) -> None:
    finished = "vllm:request_success_total"
    before = server.total(finished)
    num_aborted = server.total(finished, finished_reason="abort")
    with (
        nginx.client("alice") as client,
        client.stream("POST", COMPLETIONS, json=ENDLESS) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers
        lines = answer.iter_lines()
        assert json.loads(next(lines).removeprefix("data: "))["choices"]
        assert server.total(finished) < before + ENDLESS["n"]
    until(
        lambda: server.total(finished, finished_reason="abort") > num_aborted,
        10,
        "the router knows that its client has left",
    )
    server.wait_until_idle()


class _StepByStep(BaseHTTPRequestHandler):
    """An answer whose next piece is sent when the client says that it has the one before."""

    protocol_version = "HTTP/1.1"
    has_arrived = threading.Semaphore(0)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(NUM_CHUNKS):
            piece = _piece(number)
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            if not self.has_arrived.acquire(timeout=20):
                return
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Not a word."""


def _piece(number: int) -> bytes:
    return f"data: {number}\n\n".encode()


def test_each_piece_arrives_before_the_next_is_sent_even_while_nginx_ends(
    tmp_path: Path, login_port: int
) -> None:
    with (
        serving(_StepByStep) as port,
        running_nginx(tmp_path, port, login_port) as proxy,
        proxy.client("alice") as client,
        client.stream("POST", COMPLETIONS, json={}) as answer,
    ):
        for number, piece in enumerate(answer.iter_raw()):
            assert piece == _piece(number)
            if number == 1:
                proxy.quit()
            _StepByStep.has_arrived.release()
        assert number == NUM_CHUNKS - 1
        client.close()
        assert proxy.wait() == 0


# ---------------------------------------------------------------- limits


def test_a_body_that_legato_would_not_read_is_refused_before_it_is_sent(nginx: Nginx) -> None:
    megabytes = ServerOptions().max_body_bytes >> 20
    assert f"client_max_body_size {megabytes}m;" in SHIPPED.read_text(encoding="utf-8")
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", nginx.port), timeout=20) as plain,
        tls.wrap_socket(plain) as sock,
    ):
        length = (megabytes << 20) + 1
        head = f"POST {COMPLETIONS} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
        sock.sendall(head.encode())
        answer = sock.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"invalid_request_error"' in answer


def test_a_large_body_passes_whole(nginx: Nginx) -> None:
    with nginx.client("alice") as client:
        answer = client.post(COMPLETIONS, json={"prompt": "a " * (2 << 20), "max_tokens": 1})
    assert answer.status_code == 400
    assert _error(answer)["code"] == "context_length_exceeded"


def test_without_legato_or_the_login_clients_are_told_to_come_again(
    tmp_path: Path, login_port: int
) -> None:
    for name, ports in {"model": (free_port(), login_port), "login": (1, free_port())}.items():
        folder = tmp_path / name
        folder.mkdir()
        with running_nginx(folder, *ports) as proxy, proxy.client("alice") as client:
            answer = client.get("/v1/models")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert _error(answer)["type"] == "server_error"
