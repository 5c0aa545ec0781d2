"""The right engine is found among processes that have Ray's titles and real connections."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from legato.tests.benchmarks.load.engine_process import engine_process

_ENGINE = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
input()
"""
_REPLICA = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(0, flush=True)
input()
"""


@contextmanager
def _process(title: str, code: str, *words: str) -> Iterator[tuple[int, str]]:
    """A Python under another title, up to its end; its id and the first line that it prints."""
    with subprocess.Popen(
        [title, "-c", code, *words],
        executable=sys.executable,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.pid, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[str, int]]:
    """The engines of a prefill and of a decode worker, by role."""
    found = {}
    with ExitStack() as stack:
        for role in ("prefill", "decode"):
            found[role], port = stack.enter_context(_process("ray::EngineRank", _ENGINE))
            title = f"ray::ServeReplica:legato:{role}-worker"
            stack.enter_context(_process(title, _REPLICA, port))
        yield found


@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_an_engine_is_known_by_the_replica_that_calls_it(
    engines: dict[str, int], role: str
) -> None:
    assert engine_process(os.getpid(), role) == engines[role]


def test_a_role_without_a_worker_has_no_engine(engines: dict[str, int]) -> None:
    with pytest.raises(RuntimeError, match="no engine of a router worker"):
        engine_process(os.getpid(), "router")
