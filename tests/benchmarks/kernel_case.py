"""One row of the kernels' table: what is run, what it moves or computes, and what it should reach.

The modules kernel_cases/*.py each list the cases of one kernel; kernels.py runs them all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from legato.tests.benchmarks.gpu_timing import median_seconds
from legato.tests.benchmarks.report import Row

# Of an H200, measured: docs/benchmarks.md.
READ_BYTES_PER_S = 4.5e12
COPY_BYTES_PER_S = 4.27e12


class Unit(StrEnum):
    """What a case's figure is; `work` is bytes, bytes and FLOP, or seconds of another kernel."""

    MICROSECONDS = "us"
    READ_SHARE = "% read bw"
    COPY_SHARE = "% copy bw"
    TFLOPS = "TFLOP/s"
    SPEEDUP = "x"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A case with its inputs on the GPU.

    Attributes:
        calls: the same work on inputs that take turns, so that none is found in the L2 cache
        error_ratio: of the result, the error against float64 over that of torch's own op in the
            same type, or None for exact results, which `prepare` has checked itself
        work: bytes or FLOP of one call; seconds of the peer for a speed-up; unused for us
    """

    calls: Sequence[Callable[[], object]]
    error_ratio: float | None
    work: float = 0.0


@dataclass(frozen=True, slots=True)
class KernelCase:
    """`must` None: for information."""

    name: str
    unit: Unit
    prepare: Callable[[], Prepared]
    must: float | None = None
    aim: float | None = None

    def measure(self) -> tuple[Row, float, float | None]:
        """The row, the seconds of one call, and the error ratio."""
        prepared = self.prepare()
        seconds = median_seconds(prepared.calls)
        figures = {
            Unit.MICROSECONDS: seconds * 1e6,
            Unit.READ_SHARE: 100 * prepared.work / READ_BYTES_PER_S / seconds,
            Unit.COPY_SHARE: 100 * prepared.work / COPY_BYTES_PER_S / seconds,
            Unit.TFLOPS: prepared.work / seconds / 1e12,
            Unit.SPEEDUP: prepared.work / seconds,
        }
        is_time = self.unit is Unit.MICROSECONDS
        row = Row(self.name, figures[self.unit], self.unit, self.must, self.aim, not is_time)
        return row, seconds, prepared.error_ratio
