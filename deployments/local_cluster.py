"""What `legato serve` starts: the application, on a Ray of its own or on one that runs already.

its own      Ray, Serve and the application are processes of this command, on this machine
a running    the application, on whatever machines the cluster has; routers on this one

Nothing listens for clients but the address that was asked for: Serve runs without proxies (the
router listens itself, see listener.py). A Ray of its own has no dashboard and listens on the
loopback interface alone; a second one beside it shares nothing with it.
"""

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation

from legato.deployments.app import SHUTDOWN_MARGIN_S, build_application, check_gpus
from legato.deployments.config import AppConfig
from legato.deployments.process_tree import kill_descendants
from legato.engine.errors import ConfigError, EngineError, LegatoError

APPLICATION = "legato"
# Ray refuses to place more than this; replicas and CPU engines ask for a token share each.
NUM_CPUS = max(8, os.cpu_count() or 1)
STOP_POLL_S = 0.1
CONNECT_S = 5.0


def start_ray() -> None:
    """Ray and Serve without proxies and without a dashboard; see cli.py for their environment."""
    with _own_signal_handlers():
        ray.init(
            address="local",
            num_cpus=NUM_CPUS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            namespace=APPLICATION,
        )
    _start_serve()


def join_ray(address: str) -> None:
    """Connects to a running Ray, and starts Serve on it if nobody has.

    Raises:
        ConfigError: there is none, this machine is no node of it, or it serves Legato already.
    """
    if address != "auto":
        _check_reachable(address)
    with _own_signal_handlers():
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                namespace=APPLICATION,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"cannot join the Ray cluster at {address}; has `ray start` been run on this "
                f"machine? {reason}"
            ) from None
    _start_serve()
    if APPLICATION in serve.status().applications:
        raise ConfigError(
            f"the Ray cluster at {address} runs an application named {APPLICATION} already; where "
            "its `legato serve` was killed, `serve shutdown` ends it"
        )


def _check_reachable(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--ray-address {address}: give the head's host:port, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"no Ray cluster at {address}: {error}; `ray start --head` starts one"
        ) from None


def _start_serve() -> None:
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(
        proxy_location=ProxyLocation.Disabled,
        http_options=HTTPOptions(location=ProxyLocation.Disabled),
    )


@contextlib.contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keeps ours: Ray's for SIGTERM print a stack trace and abort the process 3 s later."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.alarm(0)  # it may be counting already


def start_cluster(
    config: AppConfig, ray_address: str | None, while_waiting: Callable[[], None]
) -> None:
    """Starts everything; calls `while_waiting` several times a second until it serves.

    Raises:
        ConfigError: there is no such Ray, or it has too few GPUs.
        EngineError: the application did not come up; the message says why.
    """
    if ray_address is None:
        start_ray()
    else:
        join_ray(ray_address)
    check_gpus(config)
    application = build_application(config, listens=True)
    try:
        _deploy(application, while_waiting)
    except LegatoError:
        if ray_address is not None:
            stop_cluster(config, is_own_ray=False)
        raise


def _deploy(application: serve.Application, while_waiting: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            serve.run(application, name=APPLICATION, route_prefix=None)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="deploy", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(timeout=0.1)
        while_waiting()
    if failures:
        raise EngineError(f"the cluster did not start: {_reason(failures[0])}")


def stop_cluster(config: AppConfig, is_own_ray: bool) -> None:
    """Lets running answers finish, for `shutdown_timeout` seconds at most, then ends every process.

    Of a Ray that is not ours, that is the application alone. Our own is killed: its shutdown would
    wait for workers that do not hear it, as those busy importing.
    """
    deadline = time.monotonic() + config.server.shutdown_timeout + SHUTDOWN_MARGIN_S
    if APPLICATION in serve.status().applications:
        serve.delete(APPLICATION, _blocking=False)
    while APPLICATION in serve.status().applications and time.monotonic() < deadline:
        time.sleep(STOP_POLL_S)
    if is_own_ray:
        serve.shutdown()
        kill_descendants()


def _reason(error: BaseException) -> str:
    """The most telling line of what Serve says, which may be a whole remote stack trace."""
    deployments = serve.status().applications.get(APPLICATION)
    texts = [d.message for d in deployments.deployments.values()] if deployments else []
    lines = [line.strip() for text in [*texts, str(error)] for line in text.splitlines()]
    telling = [line for line in lines if "Error" in line and not line.startswith("File")]
    return (telling or lines or ["unknown reason"])[-1]
