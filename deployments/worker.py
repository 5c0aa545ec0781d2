"""A prefill or decode worker as a Serve replica: thin, it owns a gang and watches over it.

Requests never pass through it: routers talk to the gang's rank 0 directly. Serve gives it
placement, restarts and scaling; when Serve takes it away, it leaves as cluster/departure.py draws.
"""

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.util.placement_group import get_current_placement_group

from legato.cluster.departure import depart
from legato.cluster.engine_actor import EngineActorOptions
from legato.cluster.gang import Gang, GangResources
from legato.cluster.logs import configure_logging
from legato.cluster.membership import ActorName
from legato.cluster.placement import Role
from legato.cluster.shared_secret import shared_secret
from legato.cluster.transfer.transport import KVTransport
from legato.deployments.autoscaling import load_of
from legato.deployments.identity import cluster_name
from legato.deployments.live_settings import LiveSettings, WorkerSettings
from legato.deployments.replica_port import bind_to_node_address
from legato.engine.config import EngineConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker's replicas are told."""

    engine: EngineConfig
    role: Role
    resources: GangResources
    kv_transport: KVTransport
    num_threads: int | None  # of torch on a CPU; None: torch's own choice
    shutdown_timeout_s: float


class WorkerReplica:
    """One worker. Its process ends when its gang is lost, so that Serve starts another."""

    async def __init__(self, options: WorkerOptions) -> None:  # type: ignore[misc]  # Serve awaits it
        configure_logging()
        bind_to_node_address()
        self._shutdown_timeout_s = options.shutdown_timeout_s
        self._settings = LiveSettings(WorkerSettings())
        self._gang = await _start_gang(options)
        description = await self._gang.load()
        logger.info("worker %s serves at %s", description.worker, description.address)
        self._watch = asyncio.create_task(self._end_with_gang())

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Called by Serve, once at first and whenever `user_config` changes."""
        settings = self._settings.take(user_config)
        configure_logging(settings.log_level)
        await self._gang.configure(settings.log_level, settings.prefill_token_budget)

    async def check_health(self) -> None:
        """Called by Serve; raises when the engine hangs."""
        if not await self._gang.is_healthy(timeout_s=5.0):
            raise RuntimeError(f"{self._gang.name}: the engine makes no progress")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve, if the deployment is autoscaled."""
        return load_of(await self._gang.report())

    async def __del__(self) -> None:
        """Called by Serve when the replica is to end."""
        self._watch.cancel()
        await depart(self._gang, self._shutdown_timeout_s)
        self._gang.stop()

    async def _end_with_gang(self) -> None:
        reason = await self._gang.wait_until_lost()
        logger.error("%s: %s; the replica ends", self._gang.name, reason)
        # Serve counts a dead replica at once, an unhealthy one only after several checks.
        os._exit(1)


async def _start_gang(options: WorkerOptions) -> Gang:
    """The gang of a new worker, in the replica's own placement group."""
    cluster = cluster_name(serve.get_replica_context().app_name, options.engine)
    engine = EngineActorOptions(
        engine=options.engine,
        secret=await asyncio.to_thread(shared_secret, cluster),
        num_threads=options.num_threads,
        kv_transport=options.kv_transport,
    )
    name = ActorName.fresh(cluster, options.role)
    return Gang.start(name, engine, options.resources, get_current_placement_group())
