"""The command line of the load benchmark, read once."""

import argparse
import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from legato.tests.benchmarks.load.plans import (
    CPU,
    DEFAULT,
    DEFAULT_SECTIONS,
    FAULTS,
    QUICK,
    SECTIONS,
    Plan,
    Rates,
)
from legato.tests.benchmarks.load.results import Setup

_OUT = Path(tempfile.gettempdir(), "legato-disaggregation")
# The built-in model's context holds a quarter of the longest prompts.
_BUILTIN_FACTOR = 0.25
_BUILTIN_LONGEST = 1024
_SECTIONS_HELP = (
    f"of {', '.join(SECTIONS)}, comma-separated; default: all but faults, which kills workers of "
    "a model whose answers do not depend on its batches (--builtin)"
)


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that the command line says."""

    plan: Plan
    sections: tuple[str, ...]
    setups: tuple[Setup, ...]
    model: Path | None  # None: Llama-8B's shape, random weights
    is_builtin: bool
    serve_words: tuple[str, ...]
    disaggregated_words: tuple[str, ...]
    url: str | None
    num_processes: int
    seed: int
    directory: Path
    plot_from: tuple[Path, ...]


def read_options(argv: Sequence[str], description: str) -> Options:
    """Raises SystemExit with one line for words that make no sense."""
    parser = _parser(description)
    given = parser.parse_args(argv)
    if given.url is not None and FAULTS in given.sections.split(","):
        parser.error("faults are for workers that are started here: not with --url")
    plan = CPU if given.cpu else QUICK if given.quick else DEFAULT
    if given.builtin and not given.cpu:
        plan = plan.shortened(_BUILTIN_FACTOR, _BUILTIN_LONGEST)
    wanted = {"L": given.rates_l, "S": given.rates_s}
    budgets = plan.colocated_budgets
    if given.colocated_budgets is not None:
        budgets = tuple(filter(None, given.colocated_budgets.split(",")))
    plan = replace(
        plan,
        rates=_with_rates(plan.rates, wanted),
        colocated_rates=_with_rates(plan.colocated_rates, wanted),
        duration_s=given.seconds or plan.duration_s,
        leak=replace(plan.leak, num_requests=given.leak_requests or plan.leak.num_requests),
        colocated_budgets=budgets,
    )
    return Options(
        plan=plan,
        sections=tuple(given.sections.split(",")),
        setups=_setups(given, plan),
        model=given.model,
        is_builtin=given.builtin or given.cpu,
        serve_words=tuple(shlex.split(given.serve_flags)),
        disaggregated_words=tuple(shlex.split(given.disaggregated_flags)),
        url=given.url,
        num_processes=given.client_processes or max(1, min(4, (os.cpu_count() or 1) // 4)),
        seed=given.seed,
        directory=given.out,
        plot_from=tuple(given.plot_from),
    )


def _setups(given: argparse.Namespace, plan: Plan) -> tuple[Setup, ...]:
    """The disaggregated cluster, then colocated ones on the same number of GPUs."""
    num_gpus = given.prefill + given.decode
    apart = Setup(f"{given.prefill} prefill + {given.decode} decode", given.prefill, given.decode)
    together = [
        Setup(f"{num_gpus} colocated, {budget} budget", 0, num_gpus, budget)
        for budget in plan.colocated_budgets
    ]
    setups = [*([apart] if given.prefill else []), *together]
    if given.url is not None:
        return tuple(setups[:1])
    wanted = set(given.sections.split(","))
    return tuple(setup for setup in setups if wanted & set(plan.sections_of(setup)))


def _with_rates(rates: Rates, wanted: Mapping[str, str | None]) -> Rates:
    """Other rates for the workloads for which some are wanted."""
    return tuple(
        (workload, old if (text := wanted[workload.name]) is None else _numbers(text))
        for workload, old in rates
    )


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(",") if part)


def _sections(text: str) -> str:
    unknown = set(text.split(",")) - set(SECTIONS)
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return text


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--quick", action="store_true", help="what the targets ask for, in about eight minutes")
    add("--cpu", action="store_true", help="the built-in model at low rates, in about a minute")
    add("--sections", type=_sections, default=",".join(DEFAULT_SECTIONS), help=_SECTIONS_HELP)
    add("--prefill", type=int, default=1, help="prefill workers; 0: colocated ones alone")
    add("--decode", type=int, default=1, help="decode workers")
    add("--colocated-budgets", help="tokens of a step, comma-separated; empty: none colocated")
    add("--rates-l", help="of workload L, requests/s for each GPU, comma-separated")
    add("--rates-s", help="of workload S")
    add("--seconds", type=float, help="of each load")
    add("--leak-requests", type=int)
    add("--model", type=Path, help="a directory; default: Llama-8B's shape, random weights")
    add("--builtin", action="store_true", help="the built-in model")
    add("--serve-flags", default="", help="further flags of `legato serve`, as one word")
    add("--disaggregated-flags", default="", help="those of the disaggregated cluster alone")
    add("--url", help="of a cluster that runs already; --prefill and --decode say what it is")
    add("--client-processes", type=int)
    add("--seed", type=int, default=1, help="another one where prompts are in a cache already")
    add("--out", type=Path, default=_OUT, help="folder of results, plot and logs")
    add(
        "--plot-from",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE",
        help="only print and draw what earlier runs have left in their results.json",
    )
    return parser
