"""How much memory this process may still take on the host."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_memory_bytes() -> int:
    """The smaller of what the machine has left and what the container's limit leaves."""
    limits = (_machine_bytes(), _container_bytes())
    return min(limit for limit in limits if limit is not None)


def _machine_bytes() -> int:
    available_kib = _field(Path("/proc/meminfo"), "MemAvailable:")
    if available_kib is not None:
        return available_kib << 10
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _container_bytes() -> int | None:
    """What the cgroup's limit leaves; cached file pages count as free, the kernel drops them."""
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if not (limit.exists() and used.exists()):
        return None
    text = limit.read_text().strip()
    if text == "max":
        return None
    cached = _field(_CGROUP / "memory.stat", "inactive_file")
    return max(0, int(text) - int(used.read_text()) + (cached or 0))


def _field(path: Path, name: str) -> int | None:
    """The number behind `name` in a file of such lines; None without file or line."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = [line.split()[1] for line in lines if line.split()[:1] == [name]]
    return int(found[0]) if found else None
