"""Prefill and decode apart against colocated serving: load over HTTP against real clusters.

    idle     single requests: first token, gap between the first token and the second, KV push
    load     open loop, Poisson arrivals, workloads L and S: percentiles and service levels
    greedy   the same tokens from every cluster
    leak     10,000 requests, one in five abandoned: all blocks must come back
    faults   workers killed and stopped under load: answers must go on, token for token (only if
             named; for a model whose answers do not depend on its batches: --builtin)

Each cluster is started by `legato serve` on the same GPUs, measured and stopped, one after the
other. Figures stand beside must, aim and the peer's; they go to results.json and goodput.png.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from legato.engine.builtin_model import builtin_model_directory
from legato.tests.benchmarks.load.cluster_facts import transports
from legato.tests.benchmarks.load.faults import check_faults
from legato.tests.benchmarks.load.model_directory import write_model
from legato.tests.benchmarks.load.options import Options, read_options
from legato.tests.benchmarks.load.phases import (
    Bench,
    check_leaks,
    greedy_answers,
    measure_idle,
    measure_load,
    warm_up,
)
from legato.tests.benchmarks.load.plans import DEFAULT_BUDGET, FAULTS, GREEDY, IDLE, LEAK, LOAD
from legato.tests.benchmarks.load.plot import draw
from legato.tests.benchmarks.load.results import Results, Setup
from legato.tests.benchmarks.load.served import Served, serving
from legato.tests.benchmarks.load.tables import result_rows, show_peer
from legato.tests.benchmarks.model_shapes import LLAMA_8B
from legato.tests.benchmarks.report import show

REFERENCE_MODEL = "Llama-8B's shape"  # the one that the targets are for
MAX_MODEL_LEN = 16_384  # Llama-8B's own would leave less room for graphs and queues


@contextmanager
def model_of(options: Options) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The model's directory, and what `legato serve` must be told because of it."""
    if options.model is not None:
        yield options.model, ()
    elif options.is_builtin:
        yield builtin_model_directory(), ("--dtype", "float32")
    else:
        with tempfile.TemporaryDirectory() as folder:
            directory = write_model(Path(folder, "llama-8b"), LLAMA_8B)
            yield directory, ("--load-format", "dummy", "--max-model-len", str(MAX_MODEL_LEN))


def _model_name(options: Options) -> str:
    if options.model is not None:
        return options.model.name
    return "built-in model" if options.is_builtin else REFERENCE_MODEL


def serve_words(
    setup: Setup, model: Path, model_words: tuple[str, ...], options: Options
) -> list[str]:
    """The words behind `legato serve`, but for the port."""
    words = [str(model), *model_words, "--disable-log-stats"]
    words += ["--prefill-replicas", str(setup.num_prefill)]
    words += ["--decode-replicas", str(setup.num_decode)]
    if setup.budget != DEFAULT_BUDGET:
        words += ["--max-num-batched-tokens", setup.budget]
    if setup.is_disaggregated:
        words += options.disaggregated_words
    return [*words, *options.serve_words]


def measure_setup(bench: Bench, options: Options, results: Results, path: Path) -> None:
    """All sections on one cluster; what is done is written down at once."""
    plan = options.plan
    sections = set(options.sections) & set(plan.sections_of(bench.setup))
    rates_of_loads = plan.rates_of(bench.setup)
    warm_up(bench, [workload for workload, _ in rates_of_loads])
    for idle in plan.idle if IDLE in sections else ():
        point = measure_idle(bench, idle.num_prompt_tokens, idle.num_requests, idle.pause_s)
        results.idle.append(point)
        _keep(results, path, point)
    if GREEDY in sections:
        results.greedy.append(greedy_answers(bench, 24, 8 if options.is_builtin else 1))
        results.write(path)
    for workload, rates in rates_of_loads if LOAD in sections else ():
        for rate in rates:
            results.load.append(measure_load(bench, workload, rate, plan.duration_s))
            _keep(results, path, results.load[-1])
    if LEAK in sections:
        leak = plan.leak
        check = check_leaks(bench, leak.num_requests, leak.concurrency, leak.longest_stay_s)
        results.leaks.append(check)
        _keep(results, path, check)
    for fault in check_faults(bench, plan.faults) if FAULTS in sections else ():
        results.faults.append(fault)
        _keep(results, path, fault)
    if found := transports(bench.served.samples()):
        print(f"  KV passes through {', '.join(found)}", flush=True)


def _keep(results: Results, path: Path, newest: object) -> None:
    results.write(path)
    values = msgspec.to_builtins(newest) | {"setup": None}
    print("  " + ", ".join(_brief(values)), flush=True)


def _brief(values: dict[str, Any]) -> Iterator[str]:
    """Names and numbers of one result, whatever it holds."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _brief(value)
        elif isinstance(value, float):
            yield f"{name} {value:.4g}"
        elif value is not None:
            yield f"{name} {value}"


def run(options: Options) -> Results:
    options.directory.mkdir(parents=True, exist_ok=True)
    path = options.directory / "results.json"
    with model_of(options) as (model, model_words):
        vocab_size = json.loads((model / "config.json").read_text())["vocab_size"]
        results = Results(_devices(), _model_name(options))
        for setup in options.setups:
            log = options.directory / f"serve {setup.name}.log"
            words = serve_words(setup, model, model_words, options)
            try:
                with _cluster(options, words, setup, log) as served:
                    bench = Bench(setup, served, vocab_size, options.num_processes, options.seed)
                    measure_setup(bench, options, results, path)
            except (RuntimeError, OSError) as error:  # the others are still worth measuring
                print(f"  {setup.name} is given up: {error}", flush=True)
                results.given_up.append(f"{setup.name}: {error}")
    return results


@contextmanager
def _cluster(options: Options, words: list[str], setup: Setup, log: Path) -> Iterator[Served]:
    if options.url is not None:
        served = Served.at(options.url)
        served.wait_until_ready(setup.num_workers, lambda: True)
        yield served
        return
    with serving(words, setup.num_workers, log) as served:
        yield served


def _devices() -> str:
    """The GPUs, if there are any."""
    names: list[str] = []
    if shutil.which("nvidia-smi") is not None:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        names = subprocess.run(query, capture_output=True, text=True).stdout.splitlines()
    return f"{len(names)} x {names[0]}" if names else "CPU"


def report(results: Results, directory: Path) -> bool:
    """Prints the tables and draws the plot; True if no figure is below its must."""
    title = f"Disaggregation, {results.model}, {results.devices}"
    good = show(title, result_rows(results, results.model == REFERENCE_MODEL))
    if results.load:
        show_peer(results.load)
        try:
            draw(results, directory / "goodput.png")
        except ImportError as error:
            print(f"\nNo plot: {error}")
    for reason in results.given_up:
        print(f"\nGiven up: {reason}")
    return good and not results.given_up


def main() -> int:
    options = read_options(sys.argv[1:], __doc__.splitlines()[0])
    if options.plot_from:
        good = report(Results.of_all(options.plot_from), options.plot_from[0].parent)
    else:
        good = report(run(options), options.directory)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
