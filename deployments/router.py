"""The router as a Serve replica: thin, what it does is router_service.py's.

Those who bind the deployment (the builder, the command line) import this module. The service, and
with it transformers and torch, is imported by the replica's own process when it starts: it would
cost every other process four seconds.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from legato.cluster.logs import configure_logging
from legato.deployments.config import AppConfig
from legato.deployments.identity import cluster_name
from legato.deployments.live_settings import LiveSettings, RouterSettings
from legato.deployments.replica_port import bind_to_node_address

SERVICE_MODULE = "legato.deployments.router_service"


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """What a router's replicas are told."""

    config: AppConfig
    listens: bool  # on the configured host and port itself, beside Serve's way in


class RouterReplica:
    """One router process."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, options: RouterOptions, workers: list[DeploymentHandle[Any]]
    ) -> None:
        """`workers` are unused: naming them makes them part of the application."""
        configure_logging()
        bind_to_node_address()
        self._settings = LiveSettings(RouterSettings.of(options.config))
        cluster = cluster_name(serve.get_replica_context().app_name, options.config.engine)
        module = await asyncio.to_thread(import_module, SERVICE_MODULE)
        self._service = await module.start(options, cluster)  # a RouterService

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Called by Serve, once at first and whenever `user_config` changes."""
        settings = self._settings.take(user_config)
        configure_logging(settings.log_level)
        self._service.configure(settings)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Called by Serve: the application behind its own way in."""
        app: ASGIApp = self._service.app
        return app

    def check_health(self) -> None:
        """Called by Serve."""
        if not self._service.is_healthy():
            raise RuntimeError("the HTTP listener has stopped")

    async def __del__(self) -> None:
        """Called by Serve when the replica is to end."""
        await self._service.stop()
