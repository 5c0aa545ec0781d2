"""The processes below one, and the end of those that will not end by themselves. Linux's /proc."""

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from a later one of the same id by when it started."""

    pid: int
    parent: int
    started: int  # clock ticks since boot


def descendants(pid: int) -> list[Process]:
    """All processes below `pid`, at this moment."""
    everything = [process for path in Path("/proc").glob("[0-9]*") if (process := _read(path.name))]
    below = {pid}
    found: list[Process] = []
    for process in sorted(everything, key=lambda one: one.started):  # parents before children
        if process.parent in below:
            below.add(process.pid)
            found.append(process)
    return found


def kill_remaining(processes: list[Process]) -> None:
    """Kills those that still run."""
    for process in processes:
        now = _read(str(process.pid))
        if now is not None and now.started == process.started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def _read(pid: str) -> Process | None:
    """None if it is gone."""
    try:
        fields = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return Process(int(pid), parent=int(fields[1]), started=int(fields[19]))
