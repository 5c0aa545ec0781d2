"""The command itself: its help, its mistakes in one line, its end, and two of it side by side."""

import json
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from legato.engine.builtin_model import builtin_model_directory
from legato.tests.checkpoints import edit_json
from legato.tests.deployments.server import (
    START_TIMEOUT_S,
    Finished,
    Server,
    free_port,
    run_legato,
    until,
)

KEY = "a-key-that-is-long-enough"
# Enough to import Ray and torch on a slow machine; nothing of a cluster fits into it.
MISTAKE_CPU_S = 8.0
HELP_CPU_S = 3.0
END_S = 10.0


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the built-in model, to be broken."""
    return Path(shutil.copytree(builtin_model_directory(), tmp_path / "model"))


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a key and with defaults, which the tests below end one way or another."""
    server = Server(
        tmp_path_factory.mktemp("keyed") / "serve.log",
        *("--api-key", KEY, "--served-model-name", "mine", "--served-model-name", "alias"),
    )
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.kill()


def _check_mistake(ended: Finished, code: int, *words: str) -> None:
    """One line on stderr, with these words in it, before anything is started."""
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1, ended.stderr
    assert ended.code == code
    assert all(word in lines[0] for word in words), lines[0]
    assert ended.cpu_s < MISTAKE_CPU_S


def test_help_explains_every_flag_in_groups() -> None:
    top = run_legato("--help")
    assert top.code == 0
    assert "serve" in top.stdout
    ended = run_legato("serve", "--help")
    assert ended.code == 0
    assert ended.cpu_s < HELP_CPU_S
    for word in ("Model:", "KV cache:", "Scheduling:", "Cluster:", "Server:"):
        assert word in ended.stdout
    for flag in ("--max-model-len", "--decode-replicas", "--api-key", "--tensor-parallel-size"):
        assert flag in ended.stdout


def test_the_version_is_printed() -> None:
    ended = run_legato("--version")
    assert (ended.code, ended.stdout.split()[0]) == (0, "legato")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["serve", "--prot", "8123"], ["--prot", "--port"]),
        (["serve", "--max-model-length", "5"], ["--max-model-length", "--max-model-len"]),
        (["serve", "--port", "eighty"], ["port"]),
        (["serve", "--port", "70000"], ["port", "65535"]),
        (["serve", "--dtype", "int3"], ["dtype", "bfloat16"]),
        (["serve", "--config", "/nonexistent.yaml"], ["/nonexistent.yaml"]),
        (["serve", "a", "b"], ["one model"]),
        ([], ["COMMAND"]),
    ],
)
def test_a_mistake_in_the_words_is_one_line_and_exit_code_2(
    words: list[str], expected: list[str]
) -> None:
    _check_mistake(run_legato(*words), 2, *expected)


def test_a_port_in_use_is_one_line_and_exit_code_1() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        _check_mistake(run_legato("serve", "--port", port), 1, port, "--port")


def test_an_address_that_is_not_this_machines_is_one_line_and_exit_code_1() -> None:
    ended = run_legato("serve", "--host", "203.0.113.7", "--port", str(free_port()))
    _check_mistake(ended, 1, "203.0.113.7", "--host")


def test_too_little_memory_is_one_line_and_exit_code_1() -> None:
    ended = run_legato("serve", "--kv-cache-memory-bytes", "1000", "--port", str(free_port()))
    _check_mistake(ended, 1, "--kv-cache-memory-bytes", "--max-model-len")


def test_a_missing_model_directory_is_one_line_and_exit_code_1() -> None:
    ended = run_legato("serve", "/nonexistent/model", "--port", str(free_port()))
    _check_mistake(ended, 1, "/nonexistent/model")


@pytest.mark.parametrize("breakage", ["no config", "cut weights", "unknown family"])
def test_a_broken_model_directory_is_one_line_and_exit_code_1(model: Path, breakage: str) -> None:
    weights = model / "model.safetensors"
    match breakage:
        case "no config":
            (model / "config.json").unlink()
        case "cut weights":
            weights.write_bytes(weights.read_bytes()[:-1000])
        case "unknown family":
            edit_json(model / "config.json", architectures=["NobodyForCausalLM"], model_type="no")
    ended = run_legato("serve", str(model), "--port", str(free_port()))
    _check_mistake(ended, 1)


def test_a_port_that_another_legato_serves_is_refused(server: Server) -> None:
    _check_mistake(run_legato("serve", "--port", str(server.port)), 1, str(server.port))


def test_without_the_key_there_is_401_in_the_envelope(keyed: Server) -> None:
    body = {"prompt": "Hello", "max_tokens": 2}
    headers: list[dict[str, str]] = [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": KEY},
    ]
    for path in ("/v1/completions", "/v1/chat/completions", "/v1/models", "/tokenize", "/nope"):
        for one in headers:
            answer = httpx.post(keyed.url + path, json=body, headers=one)
            assert answer.status_code == 401, (path, one)
            assert answer.json()["error"]["code"] == "invalid_api_key"
    for path in ("/health", "/ready", "/metrics"):
        assert keyed.get(path).status_code == 200
    with keyed.client("wrong") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_two_servers_side_by_side_both_answer(server: Server, keyed: Server) -> None:
    with keyed.client(KEY) as client:
        assert [model.id for model in client.models.list()] == ["mine", "alias"]
        answer = client.completions.create(model="alias", prompt="Hello", max_tokens=4)
        assert answer.usage is not None and answer.usage.completion_tokens > 0
    with server.client() as client:
        answer = client.completions.create(model=server.model()["id"], prompt="Hello", max_tokens=4)
        assert answer.usage is not None and answer.usage.completion_tokens > 0
    assert len(server.gauge("vllm:num_requests_running")) == 2
    assert len(keyed.gauge("vllm:num_requests_running")) == 2


def test_the_key_is_not_logged_with_the_options(keyed: Server) -> None:
    first_line = keyed.output().splitlines()[0]
    assert "served_model_name" in first_line
    assert KEY not in first_line


def test_sigterm_ends_a_server_with_a_stream_in_flight_and_leaves_nothing(keyed: Server) -> None:
    body = {"prompt": "Hello", "n": 2, "max_tokens": 1500, "ignore_eos": True, "stream": True}
    headers = {"authorization": f"Bearer {KEY}"}
    url = keyed.url + "/v1/completions"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines).removeprefix("data: "))["choices"]
        keyed.signal(signal.SIGTERM)
        until(lambda: keyed.get("/ready").status_code == 503, END_S, "it is not ready any more")
        refused = httpx.post(url, json=body, headers=headers)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert keyed.get("/live").status_code == 200
        rest = list(lines)
    assert rest[-2:] == ["data: [DONE]", ""]  # running answers are finished first
    assert keyed.wait(END_S * 2) == 0
    keyed.wait_until_nothing_is_left()
    _, _, last_words = keyed.output().partition("Stopping; Ctrl-C again stops at once.\n")
    assert last_words == ""  # Ray has much to say when its processes end
    assert "Traceback" not in keyed.output()
    assert "SIGTERM received" not in keyed.output()


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("at first", signal.SIGINT),
        ("Ray starts", signal.SIGTERM),
        ("Ray starts", signal.SIGINT),
        ("workers start", signal.SIGTERM),
        ("workers start", signal.SIGINT),
    ],
)
def test_a_signal_during_the_start_ends_everything_within_seconds(
    tmp_path: Path, moment: str, number: signal.Signals
) -> None:
    server = Server(tmp_path / "serve.log")
    try:
        until(lambda: _has_come_to(server, moment), START_TIMEOUT_S, moment)
        if number is signal.SIGINT:
            server.interrupt()
        else:
            server.signal(number)
        seconds = until(lambda: not server.processes(), 30, "no process is left")
        assert seconds < END_S
        assert server.wait() == 130
        assert "Traceback" not in server.output()
    finally:
        server.kill()


def _has_come_to(server: Server, moment: str) -> bool:
    commands = " ".join(process.command for process in server.processes())
    match moment:
        case "at first":
            return "options:" in server.output()
        case "Ray starts":
            return "gcs_server" in commands
        case _:
            return "ray::ServeReplica" in commands
