"""What `legato serve` shows: progress while it starts, what to type next, a line of load.

It reads the workers' actors; it decides nothing.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

import ray
from tqdm import tqdm

from legato.cluster.engine_actor import WorkerDescription
from legato.cluster.membership import NAMESPACE, ActorName, live_actor_names
from legato.cluster.wire import Report
from legato.deployments.config import AppConfig
from legato.engine.load_progress import LoadProgress

STATS_S = 10.0


def _workers() -> dict[str, Any]:
    """The rank-0 actors' handles, by name."""
    handles = {}
    for name in sorted(live_actor_names()):
        parsed = ActorName.parse(name)
        if parsed is None or parsed.rank != 0:
            continue
        try:
            handles[name] = ray.get_actor(name, NAMESPACE)
        except ValueError:  # it ended in between
            continue
    return handles


class LoadingBar:
    """One bar over what all workers are doing."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        # None: no bar where nobody watches, as in a container's log.
        self._bar = tqdm(
            desc="Starting", unit="B", unit_scale=True, file=stream, leave=False, disable=None
        )
        self._next_look = 0.0

    def update(self) -> None:
        """Looks at the workers, twice a second at most."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + 0.5
        reports: list[LoadProgress] = []
        try:
            asked = [actor.progress.remote() for actor in _workers().values()]
            done, _ = ray.wait(asked, num_returns=len(asked), timeout=0.2) if asked else ([], [])
            reports = ray.get(done)
        except ray.exceptions.RayError:
            pass
        stages = sorted({report.stage for report in reports}) or ["starting Ray Serve"]
        self._bar.set_description_str(", ".join(stages))
        self._bar.unit = next((report.unit for report in reports), "B")
        self._bar.total = sum(report.total for report in reports) or None
        self._bar.n = sum(report.done for report in reports)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


def describe_workers() -> list[WorkerDescription]:
    """The workers that are up, after `start_cluster`."""
    descriptions: list[WorkerDescription] = ray.get(
        [actor.describe.remote() for actor in _workers().values()], timeout=30
    )
    return descriptions


def banner(
    config: AppConfig, descriptions: list[WorkerDescription], seconds: float, embeds: bool = False
) -> str:
    """What operators look for, and two lines that work as they stand.

    Args:
        embeds: the model makes embeddings and no text
    """
    lines = [f"Model: {config.model_names[0]} ({config.model.model})"]
    for one in descriptions:
        lines.append(
            f"{one.role} worker on {one.device}, {one.dtype}: loaded in {one.load_s:.1f} s, "
            f"KV cache size: {one.num_kv_tokens:,} tokens, maximum concurrency for "
            f"{one.max_model_len:,} tokens per request: {one.max_concurrency:.1f}x"
        )
    url, example = _url(config), _EMBEDDING if embeds else _CHAT
    lines.append(f"Ready in {seconds:.1f} s: {url}")
    if config.server.playground:
        lines.append(f"To chat with it and watch its requests: open {url}/ in a browser")
    if config.server.api_key:
        lines.append("The lines below take one of your keys from VLLM_API_KEY.")
    lines += [
        "",
        f"  {_curl(config, url, example)}",
        "",
        f"  {_python(config, url, example)}",
        "",
        "Ctrl-C stops it.",
    ]
    return "\n".join(lines)


def _url(config: AppConfig) -> str:
    host = config.server.host
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    address = f"[{host}]" if ":" in host else host
    return f"http://{address}:{config.server.port}"


@dataclass(frozen=True, slots=True)
class _Example:
    """A request to try: its path, its fields beside the model, and the same in Python."""

    path: str
    fields: dict[str, Any]
    method: str
    result: str


_CHAT = _Example(
    "/v1/chat/completions",
    {"messages": [{"role": "user", "content": "Hello!"}]},
    "chat.completions",
    "choices[0].message.content",
)
_EMBEDDING = _Example("/v1/embeddings", {"input": "Hello!"}, "embeddings", "data[0].embedding")


def _curl(config: AppConfig, url: str, example: _Example) -> str:
    key = ' -H "Authorization: Bearer $VLLM_API_KEY"' if config.server.api_key else ""
    body = json.dumps({"model": config.model_names[0], **example.fields})
    return f"curl {url}{example.path} -H 'Content-Type: application/json'{key} -d '{body}'"


def _python(config: AppConfig, url: str, example: _Example) -> str:
    key = 'os.environ["VLLM_API_KEY"]' if config.server.api_key else '"none"'
    fields = {"model": config.model_names[0], **example.fields}
    arguments = ", ".join(f"{name}={json.dumps(value)}" for name, value in fields.items())
    return (
        f'{sys.executable} -c \'import os, openai; client = openai.OpenAI(base_url="{url}/v1", '
        f"api_key={key}); print(client.{example.method}.create({arguments}).{example.result})'"
    )


@dataclass(slots=True)
class LoadLine:
    """The line of throughput and load that is printed every few seconds."""

    _counters: dict[str, dict[str, float]] = field(default_factory=dict)
    _since: float = field(default_factory=time.monotonic)

    def render(self, reports: list[Report]) -> str:
        """Rates since the last call, load now."""
        elapsed_s = max(time.monotonic() - self._since, 1e-9)
        self._since = time.monotonic()
        totals = {
            name: sum(self._delta(report, name) for report in reports) / elapsed_s
            for name in ("prompt_tokens", "generation_tokens")
        }
        hits, queries = (
            sum(report.counters.get(name, 0.0) for report in reports)
            for name in ("prefix_cache_hits", "prefix_cache_queries")
        )
        self._counters |= {report.worker: report.counters for report in reports}
        blocks = sum(report.num_total_blocks for report in reports) or 1
        used = 1 - sum(report.num_free_blocks for report in reports) / blocks
        return (
            f"Avg prompt throughput: {totals['prompt_tokens']:.1f} tokens/s, "
            f"avg generation throughput: {totals['generation_tokens']:.1f} tokens/s, "
            f"running: {sum(report.num_running for report in reports)} reqs, "
            f"waiting: {sum(report.num_waiting for report in reports)} reqs, "
            f"KV cache usage: {100 * used:.1f}%, "
            f"prefix cache hit rate: {100 * hits / queries if queries else 0:.1f}%"
        )

    def _delta(self, report: Report, name: str) -> float:
        before = self._counters.get(report.worker, {})
        return report.counters.get(name, 0.0) - before.get(name, 0.0)


def collect_reports() -> list[Report]:
    """Each worker's load now; workers that do not answer in a second are left out."""
    asked = [actor.report.remote() for actor in _workers().values()]
    done, _ = ray.wait(asked, num_returns=len(asked), timeout=1.0) if asked else ([], [])
    reports: list[Report] = []
    for one in done:
        try:
            report = ray.get(one)
        except ray.exceptions.RayError:
            continue
        reports += [report] if report is not None else []
    return reports


@contextmanager
def silenced() -> Iterator[None]:
    """What is printed meanwhile is lost: by libraries, by their threads, by the C++ below them."""
    shown = [(number, os.dup(number)) for number in (1, 2)]
    _flush()
    nothing = os.open(os.devnull, os.O_WRONLY)
    for number, _ in shown:
        os.dup2(nothing, number)
    os.close(nothing)
    try:
        yield
    finally:
        _flush()  # while it still leads nowhere
        for number, copy in shown:
            os.dup2(copy, number)
            os.close(copy)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
