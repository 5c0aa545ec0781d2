"""What `legato serve` shows: progress while it starts, what to type next, a line of load.

It reads the workers' actors; it decides nothing.
"""

import sys
import time
from dataclasses import dataclass, field
from typing import Any, TextIO

import ray
from tqdm import tqdm

from legato.cluster.engine_actor import LoadProgress, WorkerDescription
from legato.cluster.membership import NAMESPACE, ActorName, live_actor_names
from legato.cluster.wire import Report
from legato.deployments.config import AppConfig

STATS_S = 10.0
_GIB = 1 << 30


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
    """One bar over the weights of all workers."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._bar = tqdm(
            desc="Starting", unit="B", unit_scale=True, file=stream, leave=False, total=0
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
        self._bar.total = sum(report.total_bytes for report in reports) or None
        self._bar.n = sum(report.done_bytes for report in reports)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


def describe_workers() -> list[WorkerDescription]:
    """The workers that are up, after `LocalCluster.start`."""
    descriptions: list[WorkerDescription] = ray.get(
        [actor.describe.remote() for actor in _workers().values()], timeout=30
    )
    return descriptions


def banner(config: AppConfig, descriptions: list[WorkerDescription], seconds: float) -> str:
    """What operators look for, and two lines that work as they stand."""
    model = config.model_names[0]
    host = config.server.host
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    url = (
        f"http://[{host}]:{config.server.port}"
        if ":" in host
        else f"http://{host}:{config.server.port}"
    )
    lines = [f"Model: {model} ({config.model.model})"]
    for one in descriptions:
        lines.append(
            f"{one.role} worker on {one.device}, {one.dtype}: loaded in {one.load_s:.1f} s, "
            f"KV cache size: {one.num_kv_tokens:,} tokens, maximum concurrency for "
            f"{one.max_model_len:,} tokens per request: {one.max_concurrency:.1f}x"
        )
    key = config.server.api_key[0] if config.server.api_key else None
    header = f" -H 'Authorization: Bearer {key}'" if key else ""
    lines += [
        f"Ready in {seconds:.1f} s: {url}",
        "",
        f"  curl {url}/v1/chat/completions -H 'Content-Type: application/json'{header} "
        f"""-d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'""",
        "",
        f"""  python -c 'from openai import OpenAI; print(OpenAI(base_url="{url}/v1", """
        f"""api_key="{key or "none"}").chat.completions.create(model="{model}", """
        """messages=[{"role": "user", "content": "Hello!"}]).choices[0].message.content)'""",
        "",
        "Ctrl-C stops it.",
    ]
    return "\n".join(lines)


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
