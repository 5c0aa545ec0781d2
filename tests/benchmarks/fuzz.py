"""Every endpoint of a real server for minutes: requests that nobody should send, and a neighbour.

    clients --FuzzRequest--> real server <--greedy stream, again and again-- neighbour

Looked for: a fault of the server (5xx but for "no capacity", an error in another shape, a stream
without its end), an answer that takes too long, a neighbour whose tokens change, what is left over.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from legato.tests.benchmarks.report import Row, show
from legato.tests.deployments.openai.fuzz_requests import (
    BODIES,
    FuzzRequest,
    fault_in,
    requests_to,
    requests_to_anything,
)
from legato.tests.deployments.server import Server, running_server

TIMEOUT_S = 60.0
NUM_SHOWN, NUM_GROWN_SHOWN = 40, 4
ROUND = 25  # requests of one seed: a fault is told with its seed, and found again by it
SERVER_OPTIONS = ("--local-prefill-max-tokens", "0", "--convert", "embed")
NEIGHBOUR: dict[str, Any] = {
    "prompt": "Once upon a time there was a river that ran through the hills",
    "max_tokens": 200,
    "temperature": 0,
    "ignore_eos": True,
    "stream": True,
}
ANYTHING = st.one_of([*map(requests_to, BODIES), requests_to_anything()])


@dataclass(slots=True)
class Findings:
    """What all clients have seen; each field is changed under the lock."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest: str = ""
    num_neighbours: int = 0
    num_changed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, sent: FuzzRequest, status: int, fault: str | None, took_s: float) -> None:
        with self.lock:
            self.statuses[status] += 1
            if fault is not None:
                self.faults.append(f"{fault}\n    {describe(sent)}")
            if took_s > self.slowest_s:
                self.slowest_s, self.slowest = took_s, describe(sent)


def describe(sent: FuzzRequest) -> str:
    body = b"".join(sent.chunks)[:600]
    return f"{sent.method} {sent.path[:200]} {sent.headers!r:.300} {body!r}"


def send(client: httpx.Client, sent: FuzzRequest) -> httpx.Response:
    content = iter(sent.chunks) if len(sent.chunks) > 1 else b"".join(sent.chunks)
    return client.request(sent.method, sent.path, headers=sent.headers, content=content)


def try_one(client: httpx.Client, sent: FuzzRequest, findings: Findings) -> None:
    started = time.monotonic()
    try:
        answer = send(client, sent)
        status, fault = answer.status_code, fault_in(sent, answer)
    except httpx.LocalProtocolError:
        return  # the client itself refuses to send it
    except (httpx.HTTPError, ValueError) as error:
        status, fault = 0, repr(error)
    findings.add(sent, status, fault, time.monotonic() - started)


def run_client(url: str, first_seed: int, ends: float, findings: Findings) -> None:
    """Rounds of requests until the time is over."""
    rng = random.Random(first_seed)
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:

        def attempt(sent: FuzzRequest) -> None:
            if time.monotonic() < ends:
                try_one(client, sent, findings)

        while time.monotonic() < ends:
            one_round = settings(
                max_examples=ROUND,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            seed(rng.getrandbits(32))(one_round(given(ANYTHING)(attempt)))()


def neighbours_answer(client: httpx.Client) -> str:
    """The text chunks, in which nothing but ids and times differs from one request to the next."""
    answer = client.post("/v1/completions", json=NEIGHBOUR)
    lines = [line for line in answer.text.split("\n") if line.startswith("data: {")]
    return "".join(line.partition('"choices":')[2] for line in lines)


def run_neighbour(url: str, ends: float, findings: Findings) -> None:
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
        expected = neighbours_answer(client)
        while time.monotonic() < ends:
            found = neighbours_answer(client)
            with findings.lock:
                findings.num_neighbours += 1
                findings.num_changed += found != expected


def fuzz(url: str, minutes: float, seeds: list[int], findings: Findings) -> None:
    """A client for each seed, and the neighbour, until the time is over."""
    ends = time.monotonic() + 60 * minutes
    with ThreadPoolExecutor(len(seeds) + 1) as threads:
        works = [threads.submit(run_client, url, one, ends, findings) for one in seeds]
        works.append(threads.submit(run_neighbour, url, ends, findings))
        for work in works:
            work.result()


def memory_mib(server: Server) -> dict[str, float]:
    """Of each process; what several share is divided among them."""
    found = {}
    for process in server.processes():
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        pss = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
        found[f"{process.command[:40]} {process.pid}"] = int(pss.split()[1]) / 1024
    return found


@contextmanager
def own_server() -> Iterator[Server]:
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(Path(folder), *SERVER_OPTIONS) as server,
    ):
        yield server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with own_server() as server:
        findings, seeds = Findings(), [args.seed + i for i in range(args.clients)]
        fuzz(server.url, args.minutes / 2, seeds, findings)  # in which caches fill
        before_mib = memory_mib(server)
        fuzz(server.url, args.minutes / 2, [one + 1_000 for one in seeds], findings)
        idle_s = server.wait_until_idle()
        after_mib = memory_mib(server)
    grown_mib = {name: mib - before_mib.get(name, 0) for name, mib in after_mib.items()}
    for fault in findings.faults[:NUM_SHOWN]:
        print(f"FAULT {fault}")
    for name, mib in sorted(grown_mib.items(), key=lambda item: -item[1])[:NUM_GROWN_SHOWN]:
        print(f"{mib:+8.1f} MiB {name}")
    print(f"slowest: {findings.slowest}\nstatuses: {dict(findings.statuses)}")
    rows = [
        Row("requests", findings.statuses.total(), ""),
        Row("faults", len(findings.faults), "", 0, 0, False),
        Row("slowest answer", findings.slowest_s, "s", TIMEOUT_S, 10, False),
        Row("neighbour's streams", findings.num_neighbours, ""),
        Row("neighbour's streams that changed", findings.num_changed, "", 0, 0, False),
        Row("time until every block is free again", idle_s, "s", 20, 5, False),
        Row("memory grown by in the second half", sum(grown_mib.values()), "MiB"),
    ]
    return 0 if show("Fuzzing a real server", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
