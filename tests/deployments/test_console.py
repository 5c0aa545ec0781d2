"""What `legato serve` shows."""

import io
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import ray

from legato.cluster.engine_actor import WorkerDescription
from legato.cluster.membership import NAMESPACE, ActorName
from legato.cluster.placement import Role
from legato.cluster.wire import Report
from legato.deployments.config import AppConfig
from legato.deployments.console import (
    LoadingBar,
    LoadLine,
    banner,
    collect_reports,
    describe_workers,
)
from legato.engine.load_progress import LoadProgress
from legato.tests.cluster.reports import make_report
from legato.tests.source_tree import SHARED_PATH

WORKER = WorkerDescription(
    worker="w",
    role="decode",
    address="127.0.0.1:1",
    device="cpu",
    dtype="float32",
    num_blocks=1000,
    block_size=16,
    max_model_len=4000,
    vocab_size=100,
    load_s=1.25,
)
REPORT = make_report(num_running=3, num_waiting=2, num_free_blocks=75)
# Its own file descriptors: pytest's stand-ins are not those that C++ writes to.
SILENCE = """
import os, sys
from legato.deployments.console import silenced
print("before")
with silenced():
    print("(raylet) a task failed")
    print("a stack trace", file=sys.stderr)
    os.write(1, b"from below Python"), os.write(2, b"from below Python")
try:
    with silenced():
        raise KeyError("after")
except KeyError as error:
    print(error.args[0])
    print("our complaint", file=sys.stderr)
"""


def lines_of(**options: Any) -> list[str]:
    config = AppConfig.from_options({"model": "/models/m", "served_model_name": "m"} | options)
    return banner(config, [WORKER], 12.34).splitlines()


def words_of(lines: list[str], command: str) -> list[str]:
    """The words of the line that begins with `command`, as a shell would split it."""
    return shlex.split(next(line for line in lines if line.strip().startswith(command)))


def test_the_banner_says_what_operators_look_for() -> None:
    text = "\n".join(lines_of(port=8123))
    for part in (
        "Model: m (/models/m)",
        "decode worker on cpu, float32: loaded in 1.2 s",
        "KV cache size: 16,000 tokens",
        "maximum concurrency for 4,000 tokens per request: 4.0x",
        "Ready in 12.3 s: http://127.0.0.1:8123",
        "open http://127.0.0.1:8123/ in a browser",
    ):
        assert part in text


def test_the_curl_line_works_as_it_stands() -> None:
    words = words_of(lines_of(port=8123), "curl")
    assert words[1] == "http://127.0.0.1:8123/v1/chat/completions"
    body = json.loads(words[words.index("-d") + 1])
    assert body["model"] == "m"
    assert body["messages"][0]["role"] == "user"


def test_the_python_line_works_as_it_stands() -> None:
    words = words_of(lines_of(port=8123), sys.executable)
    assert words[:2] == [sys.executable, "-c"]
    compile(words[2], "banner", "exec")
    assert 'base_url="http://127.0.0.1:8123/v1"' in words[2]


def test_a_model_that_makes_embeddings_is_asked_for_them() -> None:
    config = AppConfig.from_options({"model": "/models/m", "served_model_name": "m"})
    lines = banner(config, [WORKER], 12.34, embeds=True).splitlines()
    words = words_of(lines, "curl")
    assert words[1] == "http://127.0.0.1:8000/v1/embeddings"
    assert json.loads(words[words.index("-d") + 1]) == {"model": "m", "input": "Hello!"}
    assert 'client.embeddings.create(model="m"' in words_of(lines, sys.executable)[2]


def test_keys_are_named_and_not_shown() -> None:
    lines = lines_of(api_key="secret1,secret2")
    assert "Authorization: Bearer $VLLM_API_KEY" in words_of(lines, "curl")
    assert 'api_key=os.environ["VLLM_API_KEY"]' in words_of(lines, sys.executable)[2]
    assert "secret" not in "\n".join(lines)


@pytest.mark.parametrize(
    ("host", "shown"),
    [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("::1", "[::1]"), ("10.0.0.7", "10.0.0.7")],
)
def test_the_url_is_one_that_a_client_on_this_machine_can_use(host: str, shown: str) -> None:
    assert f"http://{shown}:8000" in "\n".join(lines_of(host=host))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the console takes for the time."""
    now = [100.0]
    monkeypatch.setattr("legato.deployments.console.time.monotonic", lambda: now[0])
    return now


def counted(worker: str, prompt: float, generation: float) -> Report:
    counters = {"prompt_tokens": prompt, "generation_tokens": generation}
    return msgspec.structs.replace(REPORT, worker=worker, counters=counters)


def test_the_load_line_shows_rates_since_the_last_one(clock: list[float]) -> None:
    line = LoadLine()
    clock[0] += 10
    line.render([counted("a", 1000, 0), counted("b", 0, 500)])
    clock[0] += 10
    text = line.render([counted("a", 1100, 0), counted("b", 0, 750)])
    assert "prompt throughput: 10.0 tokens/s" in text
    assert "generation throughput: 25.0 tokens/s" in text
    assert "running: 6 reqs, waiting: 4 reqs" in text
    assert "KV cache usage: 25.0%" in text


def test_a_worker_that_missed_a_line_does_not_count_twice(clock: list[float]) -> None:
    line = LoadLine()
    clock[0] += 10
    line.render([counted("a", 1000, 0)])
    clock[0] += 10
    line.render([])
    clock[0] += 10
    assert "prompt throughput: 2.0 tokens/s" in line.render([counted("a", 1020, 0)])


def test_the_hit_rate_is_that_of_all_workers() -> None:
    reports = [
        msgspec.structs.replace(
            REPORT, counters={"prefix_cache_queries": 100, "prefix_cache_hits": hits}
        )
        for hits in (10, 40)
    ]
    assert "prefix cache hit rate: 25.0%" in LoadLine().render(reports)
    assert "prefix cache hit rate: 0.0%" in LoadLine().render([])


class Worker:
    """Answers as an engine actor would."""

    def __init__(self, name: str) -> None:
        self._name = name

    def describe(self) -> WorkerDescription:
        return replace(WORKER, worker=self._name)

    def progress(self) -> LoadProgress:
        return LoadProgress("loading weights", 5, 10)

    def report(self) -> Report | None:
        is_ready = ":decode:" in self._name
        return msgspec.structs.replace(REPORT, worker=self._name) if is_ready else None


class Terminal(io.StringIO):
    """Somebody watches."""

    def isatty(self) -> bool:
        return True


def _until(condition: Callable[[], bool]) -> None:
    """A busy machine's actors may miss one question, but not all."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline


def test_each_worker_is_asked_once_whatever_its_ranks() -> None:
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": SHARED_PATH}},
    )
    try:
        names = [
            str(ActorName("app", role, "x", rank))
            for role, rank in ((Role.DECODE, 0), (Role.DECODE, 1), (Role.PREFILL, 0))
        ]
        worker: Any = ray.remote(Worker)
        actors = [
            worker.options(name=name, namespace=NAMESPACE, num_cpus=0.01).remote(name)
            for name in names
        ]
        assert {one.worker for one in describe_workers()} == {names[0], names[2]}
        _until(lambda: [one.worker for one in collect_reports()] == names[:1])
        shown = Terminal()
        bar = LoadingBar(shown)

        def is_shown() -> bool:
            bar.update()
            return "10.0/20.0" in shown.getvalue()

        _until(is_shown)
        bar.close()
        assert "loading weights" in shown.getvalue()
        assert actors
    finally:
        ray.shutdown()


def test_only_our_own_lines_come_out_around_a_silence() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SILENCE], capture_output=True, text=True, timeout=60
    )
    assert (ended.stdout, ended.stderr) == ("before\nafter\n", "our complaint\n")
