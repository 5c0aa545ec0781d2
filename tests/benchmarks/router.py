"""How many tokens a second one router replica streams, and what a token costs it.

    load generator --HTTP, SSE--> real router (Serve replica, own listener) --gRPC--> paced engine

The engine is replaced by one that sends every sequence a token each step; everything between it
and the client is real, the detokenizer and the OpenAI schema included. A token is late when it
comes more than one step after it was due.
"""

import argparse
import asyncio
import bisect
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import ray
import uvloop
from ray import serve

from legato.cluster.membership import NAMESPACE, ActorName
from legato.cluster.placement import Role
from legato.cluster.shared_secret import shared_secret
from legato.deployments.app import router_deployment
from legato.deployments.cli import LOCAL_ENVIRONMENT
from legato.deployments.config import AppConfig
from legato.deployments.identity import cluster_name
from legato.deployments.local_cluster import APPLICATION, start_ray
from legato.deployments.router import RouterOptions
from legato.engine.models.model_config import ModelConfig
from legato.tests.benchmarks.paced_engine import PacedEngineActor
from legato.tests.benchmarks.report import Row, show
from legato.tests.deployments.otlp_receiver import running_receiver


class StreamCount(asyncio.Protocol):
    """One streamed chat completion; notes when each chunk came, and reads them afterwards.

    It is as cheap as Python can be: clients share the machine with the router.
    """

    def __init__(self, request: bytes) -> None:
        self.arrivals: list[float] = []  # of each SSE event
        self.ended = asyncio.get_running_loop().create_future()
        self._request = request
        self._parts: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.arrivals += [time.monotonic()] * data.count(b"data: ")
        self._parts.append(data)
        if b"[DONE]" in data:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    @property
    def finish_reason(self) -> str | None:
        """Of the whole answer; None if the stream broke off."""
        events = re.findall(rb"data: (\{.*\})", b"".join(self._parts))
        reasons = [json.loads(event)["choices"][0]["finish_reason"] for event in events]
        return next(filter(None, reasons), None)


async def stream_one(port: int, num_tokens: int) -> StreamCount:
    """One streamed chat completion of `num_tokens` tokens."""
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": "Go on."}],
            "max_tokens": num_tokens,
            "stream": True,
            "ignore_eos": True,
        }
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    loop = asyncio.get_running_loop()
    _, count = await loop.create_connection(
        lambda: StreamCount(head.encode() + body), "127.0.0.1", port
    )
    await count.ended
    return count


def delays(
    count: StreamCount, num_tokens: int, step_times: list[float]
) -> list[tuple[float, float]]:
    """(arrival, seconds since the engine sent it) of each token."""
    arrivals = count.arrivals[1 : 1 + num_tokens]  # role, tokens, finish, [DONE]
    first_step = bisect.bisect_right(step_times, arrivals[0]) - 1
    # The first token may itself have been late: no token comes before it was sent.
    while any(at < sent for at, sent in zip(arrivals, step_times[first_step:], strict=False)):
        first_step -= 1
    return [(at, at - sent) for at, sent in zip(arrivals, step_times[first_step:], strict=False)]


def steady(counts: list[StreamCount], num_tokens: int) -> tuple[float, float]:
    """From when the last stream has begun until the first one ends: all of them are at work."""
    begun = max(count.arrivals[1] for count in counts)
    return begun, min(count.arrivals[num_tokens] for count in counts)


def process_cpu_s(pid: int) -> float:
    """User and system seconds of a process, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def router_pid(port: int) -> int:
    """The process that listens on `port`, by /proc."""
    inodes = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    }
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("socket:[") and target[8:-1] in inodes:
            return int(link.parts[2])
    raise RuntimeError(f"nobody listens on port {port}")


@contextmanager
def router(port: int, step_s: float, traces_endpoint: str | None) -> Iterator[Any]:
    """A real router in front of a paced engine, whose handle it gives."""
    os.environ.update(LOCAL_ENVIRONMENT)
    start_ray()
    options: dict[str, Any] = {"port": port, "max_num_queued_reqs": 100_000}
    if traces_endpoint is not None:
        options["otlp_traces_endpoint"] = traces_endpoint
    config = AppConfig.from_options(options)
    vocab_size = ModelConfig.load(Path(config.model.model)).vocab_size
    cluster = cluster_name(APPLICATION, config.engine)
    name = str(ActorName.fresh(cluster, Role.DECODE))
    engine: Any = PacedEngineActor.options(name=name, namespace=NAMESPACE, num_cpus=0).remote(
        name, shared_secret(cluster), step_s, vocab_size
    )
    ray.get(engine.load.remote())
    deployment = router_deployment(config, listens=True)
    application = deployment.bind(RouterOptions(config, listens=True), [])
    serve.run(application, name=APPLICATION, route_prefix=None)
    try:
        yield engine
    finally:
        serve.shutdown()
        ray.shutdown()


async def measure(port: int, num_streams: int, num_tokens: int) -> tuple[list[StreamCount], float]:
    """All streams at once; the counts, and the router's CPU seconds meanwhile."""
    deadline = time.monotonic() + 20
    while True:  # until the router has found the engine
        try:
            if (await stream_one(port, 4)).finish_reason == "length":
                break
        except (OSError, ValueError, KeyError):
            await asyncio.sleep(0.2)
        if time.monotonic() > deadline:
            raise RuntimeError("the router did not come up")
    pid = router_pid(port)
    before = process_cpu_s(pid)
    counts = await asyncio.gather(*(stream_one(port, num_tokens) for _ in range(num_streams)))
    return list(counts), process_cpu_s(pid) - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--step-ms", type=float, default=20.0)
    parser.add_argument("--tokens", type=int, default=500, help="tokens of each stream")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--traced", action="store_true", help="send a trace of each request")
    args = parser.parse_args()
    step_s = args.step_ms / 1000
    with ExitStack() as stack:
        receiver = stack.enter_context(running_receiver()) if args.traced else None
        endpoint = receiver.endpoint if receiver else None
        engine = stack.enter_context(router(args.port, step_s, endpoint))
        counts, cpu_s = uvloop.run(measure(args.port, args.streams, args.tokens))
        step_times: list[float] = ray.get(engine.step_times.remote())
    begun, ended = steady(counts, args.tokens)
    tokens = [token for count in counts for token in delays(count, args.tokens, step_times)]
    waits = sorted(wait for at, wait in tokens if begun < at <= ended)
    num_late = sum(wait > step_s for wait in waits)
    num_late_at_first = sum(wait > step_s for at, wait in tokens if at <= begun)
    broken = [c for c in counts if c.finish_reason != "length" or len(c.arrivals) < args.tokens]
    must, aim = (12_000, None) if args.step_ms > 10 else (40_000, 40_000)
    load = f"{args.streams} streams, {args.step_ms:g} ms steps"
    if receiver is not None:
        num_traced = sum(span.name.startswith("POST") for span in receiver.spans)
        assert num_traced >= args.streams, f"only {num_traced} requests were traced"
    rows = [
        Row(f"tokens/s, {load}", len(waits) / (ended - begun), "/s", must, aim),
        Row("router CPU per token", 1e6 * cpu_s / len(tokens), "us", 60, 30, False),
        Row("late tokens (by more than a step)", num_late, "", 0, 0, False),
        Row("late tokens while streams still begin", num_late_at_first, ""),
        Row("time for all streams to begin", begun - min(at for at, _ in tokens), "s"),
        Row("engine to client, p50", 1e3 * waits[len(waits) // 2], "ms"),
        Row("engine to client, p99", 1e3 * waits[int(len(waits) * 0.99)], "ms"),
        Row("engine to client, longest", 1e3 * waits[-1], "ms"),
        Row("broken streams", len(broken), "", 0, 0, False),
    ]
    return 0 if show("Router streaming (engine replaced by a paced one)", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
