"""Goodput against rate, as a picture: a row for each workload, a column for each service level."""

import importlib
from collections import defaultdict
from pathlib import Path
from typing import Any

from legato.tests.benchmarks.load.figures import ITL_LIMITS_MS
from legato.tests.benchmarks.load.peer import PEER
from legato.tests.benchmarks.load.results import Results

Curve = list[tuple[float, float]]  # (requests a second for each GPU, those that met the level)


def curves(results: Results, workload: str, limit_index: int) -> dict[str, Curve]:
    """Points by who made them, in the order of their rates."""
    limit = str(ITL_LIMITS_MS[limit_index])
    found: defaultdict[str, Curve] = defaultdict(list)
    for point in results.load:
        if point.workload == workload:
            good = point.rate_per_gpu * point.figures.shares[limit] / 100
            found[point.setup.name].append((point.rate_per_gpu, good))
    for peer in PEER:
        if peer.workload == workload:
            good = peer.rate_per_gpu * peer.shares[limit_index] / 100
            found[f"vLLM 0.26, budget {peer.budget}"].append((peer.rate_per_gpu, good))
    return {name: sorted(points) for name, points in found.items()}


def draw(results: Results, path: Path) -> None:
    """Writes a PNG.

    Raises:
        ImportError: matplotlib is missing; the message says what to do.
    """
    try:
        importlib.import_module("matplotlib").use("Agg")
        pyplot: Any = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise ImportError(
            "matplotlib is missing: install it, or use --plot-from FILE where it is installed"
        ) from None
    workloads = sorted({point.workload for point in results.load})
    figure, axes = pyplot.subplots(
        len(workloads), len(ITL_LIMITS_MS), figsize=(15, 4.2 * len(workloads)), squeeze=False
    )
    for row, workload in zip(axes, workloads, strict=True):
        for index, limit in enumerate(ITL_LIMITS_MS):
            _panel(row[index], curves(results, workload, index))
            row[index].set_title(f"{workload}: TTFT <= 0.5 s, own ITL p99 <= {limit} ms")
    axes[0][0].legend(fontsize=8)
    figure.suptitle(f"{results.model}, {results.devices}", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _panel(axis: Any, found: dict[str, Curve]) -> None:
    for name, points in found.items():
        is_peer = name.startswith("vLLM")
        rates, good = zip(*points, strict=True)
        style = {"linestyle": ":", "linewidth": 1.2} if is_peer else {"linewidth": 2.2}
        axis.plot(rates, good, marker="o", label=name, **style)
    highest = max(rate for points in found.values() for rate, _ in points)
    axis.plot((0, highest), (0, highest), color="0.8", linewidth=1, zorder=0)
    axis.set_xlabel("requests/s for each GPU")
    axis.set_ylabel("of these within the service level")
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
