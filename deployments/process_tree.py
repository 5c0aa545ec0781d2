"""The processes below this one, and their end. Linux's /proc and prctl."""

import contextlib
import ctypes
import os
import signal
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from a later one of the same id by when it started."""

    pid: int
    parent: int
    started: int  # clock ticks since boot


def adopt_orphans() -> None:
    """Processes below this one stay below it when those between end.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(pid: int) -> list[Process]:
    """All processes below `pid`, at this moment; those too that only wait to be reaped."""
    everything = [process for path in Path("/proc").glob("[0-9]*") if (process := _read(path.name))]
    below = {pid}
    found: list[Process] = []
    for process in sorted(everything, key=lambda one: one.started):  # parents before children
        if process.parent in below:
            below.add(process.pid)
            found.append(process)
    return found


def kill_descendants() -> None:
    """Kills every process below this one.

    Those that start meanwhile are found when it looks again; one that has been sent SIGKILL starts
    no others. After `adopt_orphans` nothing escapes by the death of its parent either.
    """
    killed: set[Process] = set()
    while found := set(descendants(os.getpid())) - killed:
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        killed |= found


def _read(pid: str) -> Process | None:
    """None if it is gone."""
    try:
        fields = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return Process(int(pid), parent=int(fields[1]), started=int(fields[19]))
