"""A real `legato serve` in processes of its own, met as users meet it: by command line and HTTP.

test process --- subprocess in a new session: legato serve --- Ray --- Serve --- workers
                 everything that it starts stays in that session, which is how what is left
                 over at the end is found in /proc
"""

import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0  # only until a test fails; how long it may take, tests say themselves
IDLE_GAUGES = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "legato_reserved_blocks",
    "legato_quarantined_blocks",
)
_POLL_S = 0.05
# In an order of its own in each process, since tests run in several at a time.
_PORTS = iter(random.SystemRandom().sample(range(20_000, 30_000), 10_000))
_CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def until(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Returns, as soon as `condition` holds, the seconds that it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(_POLL_S)
    return time.monotonic() - started


def free_port() -> int:
    """Not one that the system or Ray hands out: it stays free until a server takes it."""
    while True:
        port = next(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def legato_command() -> str:
    """The command that is installed beside this Python."""
    found = shutil.which("legato", path=str(Path(sys.executable).parent))
    assert found is not None, "the package is not installed: pip install -e ."
    return found


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended by itself."""

    code: int
    stdout: str
    stderr: str
    cpu_s: float  # of its processes; unlike its duration, about the same on a busy machine


def run_legato(*words: str, timeout_s: float = 60.0) -> Finished:
    used_s = _cpu_of_ended_children_s()
    ended = subprocess.run(
        [legato_command(), *words],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=_environment(),
    )
    cpu_s = _cpu_of_ended_children_s() - used_s
    return Finished(ended.returncode, ended.stdout, ended.stderr, cpu_s)


def _cpu_of_ended_children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "VLLM_API_KEY"}


@dataclass(frozen=True, slots=True)
class Process:
    """A live process, as /proc shows it."""

    pid: int
    command: str
    session: int
    cpu_s: float

    @classmethod
    def read(cls, pid: int) -> "Process | None":
        """None if it has ended; one that only waits to be reaped has."""
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        if fields[0] in "ZX":
            return None
        cpu_s = (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS_PER_S
        return cls(pid, command.decode(errors="replace").strip(), int(fields[3]), cpu_s)


def processes_of_session(session: int) -> list[Process]:
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    found = [Process.read(pid) for pid in pids]
    return [process for process in found if process is not None and process.session == session]


def kill_session(session: int) -> None:
    for process in processes_of_session(session):
        with suppress(ProcessLookupError):  # it has ended in between
            os.kill(process.pid, signal.SIGKILL)


class Server:
    """One `legato serve`, from its start to its end."""

    def __init__(self, log: Path, *words: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [legato_command(), "serve", *words, "--port", str(self.port)],
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_environment(),
            )
        self.pid = self._process.pid

    def output(self) -> str:
        """Both streams, so far."""
        return self._log.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self._process.poll() is None, f"it ended while it started:\n{self.output()}"
            return "Ready in" in self.output()

        until(is_ready, START_TIMEOUT_S, "the server is ready")

    # ------------------------------------------------------------------ what it says

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=10)

    def model(self) -> dict[str, Any]:
        """The first entry of /v1/models."""
        card: dict[str, Any] = self.get("/v1/models").json()["data"][0]
        return card

    def samples(self) -> list[Sample]:
        """All that /metrics has now."""
        text = self.get("/metrics").text
        return [one for family in text_string_to_metric_families(text) for one in family.samples]

    def gauge(self, name: str) -> dict[str, float]:
        """A gauge's value for each worker."""
        return {one.labels["worker"]: one.value for one in self.samples() if one.name == name}

    def total(self, name: str, **labels: str) -> float:
        """A counter's value, over all series that have these labels."""
        return sum(
            one.value
            for one in self.samples()
            if one.name == name and one.labels.items() >= labels.items()
        )

    def wait_until_idle(self, num_workers: int = 2, timeout_s: float = 20.0) -> float:
        """Waits until all workers report nothing to do and every block free."""

        def is_idle() -> bool:
            values = [(one.name, one.value) for one in self.samples() if one.name in IDLE_GAUGES]
            return len(values) == num_workers * len(IDLE_GAUGES) and not any(v for _, v in values)

        return until(is_idle, timeout_s, "every worker is idle and has all its blocks")

    # ------------------------------------------------------------------ clients

    @contextmanager
    def client(self, api_key: str = "none") -> Iterator[openai.OpenAI]:
        with openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=api_key, max_retries=0, timeout=60
        ) as client:
            yield client

    def async_client(self, api_key: str = "none") -> openai.AsyncOpenAI:
        """To be used as an async context manager."""
        return openai.AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key=api_key, max_retries=0, timeout=60
        )

    # ------------------------------------------------------------------ its processes

    def processes(self) -> list[Process]:
        return processes_of_session(self.pid)

    def engines(self) -> dict[int, Process]:
        """The engine actors' processes, by process id; a title may name the method that runs."""
        return {
            one.pid: one for one in self.processes() if one.command.startswith("ray::EngineRank")
        }

    def listening(self) -> list[tuple[str, int, str]]:
        """Address, port and command of every TCP socket that a process of it listens on."""
        sockets = _listening_sockets()
        found = []
        for process in self.processes():
            for inode in _socket_inodes(process.pid) & sockets.keys():
                found.append((*sockets[inode], process.command))
        return found

    # ------------------------------------------------------------------ its end

    def signal(self, number: signal.Signals) -> None:
        """To the command alone, as a service manager does."""
        self._process.send_signal(number)

    def interrupt(self) -> None:
        """As Ctrl-C in a terminal: to the whole foreground group."""
        os.killpg(self.pid, signal.SIGINT)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """The exit code."""
        return self._process.wait(timeout_s)

    def wait_until_nothing_is_left(self, timeout_s: float = 5.0) -> None:
        """Called when the command has ended."""
        until(lambda: not self.processes(), timeout_s, f"no process is left of {self.url}")

    def kill(self) -> None:
        """Ends whatever is left, however the test went."""
        kill_session(self.pid)
        self._process.wait(STOP_TIMEOUT_S)


def _socket_inodes(pid: int) -> set[str]:
    inodes = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                inodes.add(target[len("socket:[") : -1])
    except FileNotFoundError:
        pass  # the process or the descriptor has gone in between
    return inodes


def _listening_sockets() -> Mapping[str, tuple[str, int]]:
    """inode -> address in the kernel's hexadecimal notation, port."""
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                address, port = fields[1].split(":")
                found[fields[9]] = (address, int(port, 16))
    return found


@contextmanager
def running_server(directory: Path, *words: str) -> Iterator[Server]:
    """A server that answers; at the end it is interrupted, and has to leave nothing behind."""
    server = Server(directory / "serve.log", *words)
    try:
        server.wait_until_ready()
        yield server
        server.interrupt()
        assert server.wait() == 0, server.output()
        server.wait_until_nothing_is_left()
    except BaseException:
        print(server.output())
        raise
    finally:
        server.kill()
