"""`legato serve`: checks what needs no cluster, then runs one until it is interrupted."""

import time
from importlib.metadata import version

from legato.cluster.membership import live_actor_names
from legato.deployments.arguments import Command
from legato.deployments.chat_template import read_chat_template
from legato.deployments.config import AppConfig
from legato.deployments.console import (
    STATS_S,
    LoadingBar,
    LoadLine,
    banner,
    collect_reports,
    describe_workers,
)
from legato.deployments.listener import bind
from legato.deployments.local_cluster import LocalCluster
from legato.engine.preflight import check_model


def check(config: AppConfig) -> None:
    """Finds the user's mistakes in a second, before anything is started.

    Raises:
        ConfigError: the address is taken, or the model cannot be served.
    """
    bind(config.server.host, config.server.port, shares_port=False).close()
    check_model(config.engine)
    read_chat_template(config.server.chat_template)


def serve(command: Command) -> None:
    """Runs the cluster until SIGINT or SIGTERM.

    Raises:
        LegatoError: it could not be started.
        KeyboardInterrupt: it was interrupted before it served.
    """
    config = command.config
    given = ", ".join(f"{name}={value}" for name, value in command.given.items())
    print(f"Legato {version('legato-llm')}; options: {given or 'all defaults'}", flush=True)
    check(config)
    cluster = LocalCluster()
    started = time.monotonic()
    bar = LoadingBar()
    try:
        cluster.start(config, bar.update)
    except BaseException:
        bar.close()
        cluster.kill()  # nothing is served yet, so there is nothing to wait for
        raise
    bar.close()
    try:
        print(banner(config, describe_workers(), time.monotonic() - started), flush=True)
        _follow(logs=not config.server.disable_log_stats)
    finally:
        _stop(cluster)


def _follow(logs: bool) -> None:
    """Prints a line of load every few seconds, until interrupted."""
    line = LoadLine()
    workers = live_actor_names()
    try:
        while True:
            time.sleep(STATS_S)
            reports = collect_reports()
            workers = _tell_changes(workers, live_actor_names())
            if logs and reports:
                print(line.render(reports), flush=True)
    except KeyboardInterrupt:
        return


def _tell_changes(before: set[str], now: set[str]) -> set[str]:
    for worker in sorted(before - now):
        print(f"Lost worker {worker}; its requests go on elsewhere.", flush=True)
    for worker in sorted(now - before):
        print(f"New worker {worker}.", flush=True)
    return now


def _stop(cluster: LocalCluster) -> None:
    print("\nStopping; Ctrl-C again stops at once.", flush=True)
    try:
        cluster.stop()
    except KeyboardInterrupt:
        cluster.kill()
