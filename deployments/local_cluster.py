"""A whole cluster on this machine, in processes of this command: Ray, Serve, the application.

Nothing listens but the address that was asked for: Serve runs without proxies (the router listens
itself, see listener.py), Ray without its dashboard and on the loopback interface. A second cluster
beside it shares nothing with it.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation

from legato.deployments.app import SHUTDOWN_MARGIN_S, build_application, check_gpus
from legato.deployments.config import AppConfig
from legato.deployments.process_tree import kill_descendants
from legato.engine.errors import EngineError

APPLICATION = "legato"
# Ray refuses to place more than this; replicas and CPU engines ask for a token share each.
NUM_CPUS = max(8, os.cpu_count() or 1)
STOP_POLL_S = 0.1


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


def start_cluster(config: AppConfig, while_waiting: Callable[[], None]) -> None:
    """Starts everything; calls `while_waiting` several times a second until it serves.

    Raises:
        EngineError: the application did not come up; the message says why.
    """
    start_ray()
    check_gpus(config)
    application = build_application(config, listens=True)
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


def stop_cluster(config: AppConfig) -> None:
    """Lets running answers finish, for `shutdown_timeout` seconds at most, then ends every process.

    Ray's own shutdown would wait for workers that do not hear it, as those busy importing.
    """
    deadline = time.monotonic() + config.server.shutdown_timeout + SHUTDOWN_MARGIN_S
    if APPLICATION in serve.status().applications:
        serve.delete(APPLICATION, _blocking=False)
    while APPLICATION in serve.status().applications and time.monotonic() < deadline:
        time.sleep(STOP_POLL_S)
    serve.shutdown()
    kill_descendants()


def _reason(error: BaseException) -> str:
    """The most telling line of what Serve says, which may be a whole remote stack trace."""
    deployments = serve.status().applications.get(APPLICATION)
    texts = [d.message for d in deployments.deployments.values()] if deployments else []
    lines = [line.strip() for text in [*texts, str(error)] for line in text.splitlines()]
    telling = [line for line in lines if "Error" in line and not line.startswith("File")]
    return (telling or lines or ["unknown reason"])[-1]
