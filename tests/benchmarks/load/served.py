"""A Legato cluster as its clients meet it: started by its own command, or running somewhere.

It is known by its address and by what it says at /ready and /metrics.
"""

import contextlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60.0
IDLE_GAUGES = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "legato_reserved_blocks",
    "legato_quarantined_blocks",
)
_POLL_S = 0.2
_TELL_S = 10.0  # between two lines of progress


@dataclass(frozen=True, slots=True)
class Served:
    """The address of a cluster."""

    host: str
    port: int
    server_pid: int | None = None  # of `legato serve`, if it was started here

    @classmethod
    def at(cls, url: str) -> "Served":
        parts = urlsplit(url)
        return cls(parts.hostname or "127.0.0.1", parts.port or 80)

    def get(self, path: str) -> bytes:
        """Raises OSError if there is no answer, or one that says no."""
        url = f"http://{self.host}:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=10) as response:
            body: bytes = response.read()
            return body

    def samples(self) -> list[Sample]:
        """All that /metrics has now."""
        text = self.get("/metrics").decode()
        return [one for family in text_string_to_metric_families(text) for one in family.samples]

    def wait_until_ready(self, num_workers: int, is_alive: Callable[[], bool]) -> float:
        """Seconds until it takes requests and all its workers have reported.

        Raises:
            RuntimeError: the server ended, or took too long.
        """
        started = told = time.monotonic()
        while not self._is_ready(num_workers):
            now = time.monotonic()
            if not is_alive() or now - started > START_TIMEOUT_S:
                raise RuntimeError("the server did not come up")
            if now - told > _TELL_S:
                told = now
                print(f"  waiting for the server, {now - started:.0f} s", flush=True)
            time.sleep(_POLL_S)
        return time.monotonic() - started

    def _is_ready(self, num_workers: int) -> bool:
        try:
            self.get("/ready")
            infos = [one for one in self.samples() if one.name == "vllm:cache_config_info"]
        except (OSError, urllib.error.URLError):
            return False
        return len(infos) >= num_workers

    def workers(self) -> dict[str, str]:
        """The role of each worker that has reported."""
        return {
            one.labels["worker"]: one.labels["role"]
            for one in self.samples()
            if one.name == "vllm:cache_config_info"
        }

    def wait_until_replaced(self, workers: set[str]) -> float:
        """Seconds until one of these workers is forgotten and there are as many as there were.

        Raises:
            RuntimeError: it took too long.
        """
        started = time.monotonic()
        while (now := self.workers().keys()) == workers or len(now) != len(workers):
            if time.monotonic() - started > START_TIMEOUT_S:
                raise RuntimeError("no other worker took the place of the one that was lost")
            time.sleep(_POLL_S)
        return time.monotonic() - started

    def num_used_blocks(self) -> dict[str, float]:
        """KV blocks that are not free, reserved or in quarantine, by worker."""
        samples = self.samples()
        totals = {
            one.labels["worker"]: float(one.labels["num_gpu_blocks"])
            for one in samples
            if one.name == "vllm:cache_config_info"
        }
        used = dict.fromkeys(totals, 0.0)
        for one in samples:
            if one.name == "vllm:kv_cache_usage_perc":
                used[one.labels["worker"]] += round(one.value * totals[one.labels["worker"]])
        return used

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Whether all workers come to have nothing to do and all their blocks, in time."""
        deadline = time.monotonic() + timeout_s
        while any(one.value for one in self.samples() if one.name in IDLE_GAUGES):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True


@contextmanager
def serving(words: Sequence[str], num_workers: int, log: Path) -> Iterator[Served]:
    """`legato serve` with these words on a free port; its output goes to `log`.

    Raises:
        RuntimeError: it did not come up; the end of its output is printed.
    """
    port = _free_port()
    command = [sys.executable, "-m", "legato.deployments.cli", "serve", *words]
    command += ["--port", str(port)]
    print(f"\n$ legato serve {' '.join(words)}", flush=True)
    with log.open("w") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    served = Served("127.0.0.1", port, server.pid)
    try:
        seconds = served.wait_until_ready(num_workers, lambda: server.poll() is None)
        print(f"  ready in {seconds:.1f} s", flush=True)
        yield served
    except BaseException:
        print("".join(log.read_text(errors="replace").splitlines(keepends=True)[-40:]), flush=True)
        raise
    finally:
        _stop(server)


def _stop(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):  # the second stops at once
        if server.poll() is not None:
            return
        server.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_TIMEOUT_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
