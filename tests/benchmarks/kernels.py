"""Every kernel on one GPU: time or share of the machine's limit, cold caches, results checked.

Each case runs in a CUDA graph over inputs that take turns; the figure is the median of 50 replays.
Errors are against float64, as a multiple of the error of torch's own operation in the same type:
up to 2 is good.
"""

import argparse
import sys
import traceback
from importlib import import_module
from pathlib import Path

import torch

from legato.tests.benchmarks.kernel_case import KernelCase
from legato.tests.benchmarks.report import Row, show

MAX_ERROR_RATIO = 2.0
MODULES = sorted(path.stem for path in Path(__file__, "..", "kernel_cases").resolve().glob("*.py"))


def cases_of(modules: list[str], pattern: str) -> list[KernelCase]:
    found = [
        case
        for name in modules
        for case in import_module(f"legato.tests.benchmarks.kernel_cases.{name}").CASES
    ]
    return [case for case in found if pattern in case.name]


def measure(cases: list[KernelCase]) -> tuple[list[Row], bool]:
    """The rows, and whether all results were right."""
    rows, is_right = [], True
    for case in cases:
        try:
            row, seconds, error_ratio = case.measure()
        except Exception:
            traceback.print_exc()
            rows.append(Row(f"{case.name}: FAILED", 0, case.unit, case.must, case.aim))
            is_right = False
            continue
        is_good = error_ratio is None or error_ratio <= MAX_ERROR_RATIO
        is_right &= is_good
        error = "exact" if error_ratio is None else f"error x{error_ratio:.2f}"
        print(f"{case.name}: {1e6 * seconds:.1f} us, {error}{'' if is_good else ' WRONG'}")
        rows.append(row)
        torch.cuda.empty_cache()
    return rows, is_right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modules", default=",".join(MODULES), help="comma-separated")
    parser.add_argument("--only", default="", help="cases with this in their name")
    args = parser.parse_args()
    rows, is_right = measure(cases_of(args.modules.split(","), args.only))
    is_fast = show(f"Kernels, {torch.cuda.get_device_name()}", rows)
    return 0 if is_right and is_fast else 1


if __name__ == "__main__":
    sys.exit(main())
