"""Two hosts in one machine that have nothing in common but a network cable.

this machine                         a network, PID and mount namespace
Ray's head, test process  == Cable ==  ray start --address=... --block
/dev/shm, /tmp/...                     a /dev/shm and a folder for Ray of its own
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import ray

from legato.tests.cluster.cable import Cable, ip

# Ends with the namespace's first process, whatever it has started.
_SCRIPT = """\
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs "$1"
exec "${@:2}"
"""


def why_not() -> str | None:
    """Why this machine cannot play two hosts; None: it can."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    if not all(map(shutil.which, ("ip", "unshare", "bash"))):
        return "needs the commands ip (iproute2) and unshare (util-linux)"
    name = f"legato-{secrets.token_hex(2)}"
    try:
        ip("netns", "add", name)
        ip("netns", "del", name)
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except (subprocess.CalledProcessError, OSError) as error:
        return f"no network namespaces or TUN devices here: {error}"
    return None


@dataclass
class TwoHosts:
    """Ray's head is on this machine, and this process is connected to it."""

    cable: Cable
    here: str  # Ray's id of this machine's node
    namespace: str
    addresses: tuple[str, str]  # here, there
    folder: Path  # Ray's temporary folder, on each of the two another one
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_there(self) -> None:
        """Joins the other host to the cluster, as its operator would."""
        with (self.folder.parent / f"there-{len(self._processes)}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [
                        *("ip", "netns", "exec", self.namespace),
                        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                        *("bash", "-ec", _SCRIPT, "there", str(self.folder)),
                        *(str(Path(sys.executable).parent / "ray"), "start", "--block"),
                        f"--address={ray.get_runtime_context().gcs_address}",
                        f"--node-ip-address={self.addresses[1]}",
                        *("--num-cpus=2", "--object-store-memory=80000000"),
                    ],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def node_there(self) -> str | None:
        """Ray's id of the other host's node; None: Ray takes it for dead, or knows none yet."""
        nodes = (node for node in ray.nodes() if node["Alive"])
        return next((node["NodeID"] for node in nodes if node["NodeID"] != self.here), None)

    def runs_there(self) -> bool:
        """Whether Ray still runs on the other host."""
        return self._processes[-1].poll() is None

    def crash_there(self) -> None:
        """Every process there ends at once."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


@contextmanager
def two_hosts(folder: Path, health_check: dict[str, int]) -> Iterator[TwoHosts]:
    """Both with Ray on them; `health_check` are Ray's settings for how it tells a dead node."""
    namespace = f"lg{secrets.token_hex(2)}"
    net = f"198.18.{secrets.randbelow(256)}"  # 198.18.0.0/15 is for tests, and in no network
    addresses = (f"{net}.1", f"{net}.2")
    with contextlib.ExitStack() as ends:
        ip("netns", "add", namespace)
        ends.callback(ip, "netns", "del", namespace)
        ip("-n", namespace, "link", "set", "lo", "up")
        cable = Cable(namespace, *addresses)
        ends.callback(cable.close)
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=80_000_000,
            _node_ip_address=addresses[0],
            _temp_dir=str(folder),
            # What other tests need of the machine's memory must not end workers.
            _system_config={"worker_niceness": 0, "memory_monitor_refresh_ms": 0, **health_check},
        )
        ends.callback(ray.shutdown)
        here = ray.get_runtime_context().get_node_id()
        hosts = TwoHosts(cable, here, namespace, addresses, folder)
        ends.callback(hosts.crash_there)
        hosts.start_there()
        yield hosts
