"""The process of a worker's engine, by the worker's role.

    legato serve --below--> ray::ServeReplica:legato:decode-worker    a title that names the role
                                 | connected to
                            ray::EngineRank                           a title that does not

A worker's replica calls its own engine and no other one: the engine that listens where the replica
is connected is the worker's. All of it is read from Linux's /proc.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from legato.deployments.process_tree import descendants

_ENGINE = "ray::EngineRank"
_REPLICA = "ray::ServeReplica:legato:{role}-worker"
_LISTENING = "0A"  # in the kernel's tables of sockets


@dataclass(frozen=True, slots=True)
class _Socket:
    """A TCP socket of any process; `remote_port` is 0 for one that listens."""

    inode: str
    local_port: int
    remote_port: int
    is_listening: bool


def engine_process(server_pid: int, role: str) -> int:
    """The process id of the engine (any rank) of a worker of this role below `legato serve`.

    Raises:
        RuntimeError: there is no such worker.
    """
    titles = {one.pid: _title(one.pid) for one in descendants(server_pid)}
    sockets = list(_sockets())
    prefix = _REPLICA.format(role=role)
    called_ports = {
        socket.remote_port
        for replica in (pid for pid, title in titles.items() if title.startswith(prefix))
        for socket in _sockets_of(replica, sockets)
    }
    for engine in (pid for pid, title in titles.items() if title.startswith(_ENGINE)):
        own = _sockets_of(engine, sockets)
        if any(one.is_listening and one.local_port in called_ports for one in own):
            return engine
    raise RuntimeError(f"no engine of a {role} worker is below process {server_pid}")


def _title(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""  # it has ended


def _sockets() -> Iterator[_Socket]:
    """Those of the whole machine."""
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            local, remote = (int(fields[i].rpartition(":")[2], 16) for i in (1, 2))
            yield _Socket(fields[9], local, remote, fields[3] == _LISTENING)


def _sockets_of(pid: int, sockets: list[_Socket]) -> list[_Socket]:
    opened: set[str] = set()
    try:
        for descriptor in Path("/proc", str(pid), "fd").iterdir():
            opened.add(os.readlink(descriptor))
    except OSError:
        pass  # the process or the descriptor has gone in between
    return [one for one in sockets if f"socket:[{one.inode}]" in opened]
