"""`legato serve`: checks what needs no cluster, then runs one until it is interrupted."""

import time
from contextlib import closing
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
    silenced,
)
from legato.deployments.interruption import Interruption
from legato.deployments.listener import bind
from legato.deployments.local_cluster import start_cluster, stop_cluster
from legato.engine.errors import EngineError
from legato.engine.models.sentence_embedding import read_pooling
from legato.engine.models.source import resolve_model_directory
from legato.engine.preflight import check_model


def check(config: AppConfig) -> None:
    """Finds the user's mistakes in a second, before anything is started.

    Raises:
        ConfigError: the address is taken, or the model cannot be served.
    """
    bind(config.server.host, config.server.port, shares_port=False).close()
    check_model(config.engine)
    read_chat_template(config.server.chat_template)


def serve(command: Command, interruption: Interruption) -> None:
    """Runs the cluster until SIGINT or SIGTERM.

    Raises:
        LegatoError: it could not be started.
    """
    config = command.config
    given = ", ".join(f"{name}={value}" for name, value in command.given.items())
    print(f"Legato {version('legato-llm')}; options: {given or 'all defaults'}", flush=True)
    check(config)
    started = time.monotonic()
    with closing(LoadingBar()) as bar:
        if command.ray_address is not None:
            interruption.serving()  # what runs on other machines does not end with this process

        def look() -> None:
            bar.update()
            if interruption.wait(0):
                raise EngineError("interrupted while the cluster started")

        start_cluster(config, command.ray_address, look)
    interruption.serving()
    try:
        seconds = time.monotonic() - started
        print(banner(config, describe_workers(), seconds, _embeds(config)), flush=True)
        _follow(interruption, logs=not config.server.disable_log_stats)
    finally:
        print("\nStopping; Ctrl-C again stops at once.", flush=True)
        with silenced():  # Ray reports that the controller, which has just ended itself, is dead
            stop_cluster(config, is_own_ray=command.ray_address is None)


def _embeds(config: AppConfig) -> bool:
    """Whether the model makes embeddings and no text."""
    pooling = read_pooling(resolve_model_directory(config.model.model))
    return pooling is not None and config.server.convert != "none"


def _follow(interruption: Interruption, logs: bool) -> None:
    """Prints a line of load every few seconds, until interrupted."""
    line = LoadLine()
    workers = live_actor_names()
    while not interruption.wait(STATS_S):
        reports = collect_reports()
        workers = _tell_changes(workers, live_actor_names())
        if logs and reports:
            print(line.render(reports), flush=True)


def _tell_changes(before: set[str], now: set[str]) -> set[str]:
    for worker in sorted(before - now):
        print(f"Lost worker {worker}; its requests go on elsewhere.", flush=True)
    for worker in sorted(now - before):
        print(f"New worker {worker}.", flush=True)
    return now
