"""The table that every benchmark prints: our figure beside must and aim, and the hardware."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, and on which side of `must` it should be; without one it is for information."""

    name: str
    value: float
    unit: str
    must: float | None = None
    aim: float | None = None
    higher_is_better: bool = True

    @property
    def verdict(self) -> str:
        if self.must is None:
            return ""
        sign = 1 if self.higher_is_better else -1
        if self.aim is not None and sign * self.value >= sign * self.aim:
            return "aim"
        return "must" if sign * self.value >= sign * self.must else "BELOW"


def hardware() -> str:
    """The processor and the number of cores this process may use."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    return f"{cpu}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"


def show(title: str, rows: list[Row]) -> bool:
    """Prints the table; True if no figure is below its must."""
    print(f"\n{title}\n{hardware()}\n")
    print(f"| {'what':<58} | {'ours':>12} | {'must':>10} | {'aim':>10} | {'':<5} |")
    print(f"|{'-' * 60}|{'-' * 14}|{'-' * 12}|{'-' * 12}|{'-' * 7}|")
    for row in rows:
        limits = [f"{limit:,.4g}" if limit is not None else "" for limit in (row.must, row.aim)]
        value = f"{row.value:,.4g} {row.unit}"
        print(
            f"| {row.name:<58} | {value:>12} | {limits[0]:>10} | {limits[1]:>10} "
            f"| {row.verdict:<5} |"
        )
    return all(row.verdict != "BELOW" for row in rows)
