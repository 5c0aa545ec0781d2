"""A Ray node of its own, told what to serve as KubeRay does it: by environment, and by a PUT of
serveConfigV2 to the dashboard.

test process --- subprocess in a new session: ray start --head --block --- Ray, Serve, HAProxy
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from legato.tests.deployments.server import free_port, kill_session, until

START_TIMEOUT_S = 90.0
TOKEN = "a-token-of-this-test-alone"
_PORT_FLAGS = (
    "--port",
    "--dashboard-port",
    "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port",
    "--metrics-export-port",
    "--ray-client-server-port",
)


class LocalRay:
    """One head node; `environment` is what its processes find beside this machine's own."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._ports = {flag: free_port() for flag in _PORT_FLAGS}
        words = [f"{flag}={port}" for flag, port in self._ports.items()]
        self._log = folder / "ray.log"
        with self._log.open("wb") as stream:
            self._process = subprocess.Popen(
                [
                    *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"),
                    *("--node-ip-address=127.0.0.1", "--num-cpus=2", *words),
                    *("--object-store-memory=100000000", f"--temp-dir={folder / 'ray'}"),
                ],
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment, **_separated(folder)},
            )
        self._dashboard = httpx.Client(
            base_url=f"http://127.0.0.1:{self._ports['--dashboard-port']}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=30,
        )

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until_up(self) -> None:
        until(self._is_up, START_TIMEOUT_S, "Ray's dashboard answers")

    def deploy(self, config: Mapping[str, Any]) -> None:
        """Returns when all of `config` runs."""
        self.put(config)
        until(self._is_running, START_TIMEOUT_S, "the application runs")

    def put(self, config: Mapping[str, Any]) -> None:
        """Hands `config` over, as KubeRay does."""
        answer = self._dashboard.put("/api/serve/applications/", json=dict(config))
        assert answer.status_code == 200, answer.text

    def replicas(self, deployment: str) -> set[str]:
        """The ids of its replicas, of those too that start or stop; none while it is built."""
        (application,) = self._applications().values()
        found = application["deployments"].get(deployment, {"replicas": []})
        return {replica["replica_id"] for replica in found["replicas"]}

    def stop(self) -> None:
        """Ends whatever is left of it, however the test went."""
        self._dashboard.close()
        kill_session(self._process.pid)
        self._process.wait(30)

    def _is_up(self) -> bool:
        assert self._process.poll() is None, self.output()
        try:
            return self._dashboard.get("/api/serve/applications/").status_code == 200
        except httpx.TransportError:
            return False

    def _is_running(self) -> bool:
        applications = self._applications()
        states = {name: app["status"] for name, app in applications.items()}
        assert "DEPLOY_FAILED" not in states.values(), applications
        return set(states.values()) == {"RUNNING"}

    def _applications(self) -> dict[str, Any]:
        details = self._dashboard.get("/api/serve/applications/").json()
        applications: dict[str, Any] = details["applications"]
        return applications


def _separated(folder: Path) -> dict[str, str]:
    """What keeps it apart from other Rays and HAProxies, and within this machine's limits."""
    names = ("STATS_PORT", "METRICS_PORT")
    proxy = folder / "haproxy"
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's ports on 127.0.0.1
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_SERVE_HAPROXY_MAXCONN": "100",
        **{f"RAY_SERVE_HAPROXY_{name}": str(free_port()) for name in names},
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(proxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(proxy / "metrics.sock"),
    }


@contextmanager
def running_ray(folder: Path, environment: Mapping[str, str]) -> Iterator[LocalRay]:
    node = LocalRay(folder, environment)
    try:
        node.wait_until_up()
        yield node
    except BaseException:
        print(node.output())
        raise
    finally:
        node.stop()
