"""A prefill or decode worker as a Serve replica: thin, it owns a gang and watches over it.

Requests never pass through it: routers talk to the gang's rank 0 directly. Serve gives it
placement, restarts and scaling.
"""

import asyncio
import logging
import os
from dataclasses import dataclass

from ray.util.placement_group import get_current_placement_group

from legato.cluster.engine_actor import EngineActorOptions
from legato.cluster.gang import Gang, GangResources
from legato.cluster.logs import configure_logging
from legato.cluster.membership import ActorName
from legato.cluster.placement import Role
from legato.deployments.autoscaling import load_of
from legato.deployments.replica_port import bind_to_node_address

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker's replicas are told."""

    application: str
    role: Role
    engine: EngineActorOptions
    resources: GangResources


class WorkerReplica:
    """One worker. Its process ends when its gang is lost, so that Serve starts another."""

    async def __init__(self, options: WorkerOptions) -> None:  # type: ignore[misc]  # Serve awaits it
        configure_logging()
        bind_to_node_address()
        name = ActorName.fresh(options.application, options.role)
        group = get_current_placement_group()
        self._gang = Gang.start(name, options.engine, options.resources, group)
        description = await self._gang.load()
        logger.info("worker %s serves at %s", description.worker, description.address)
        self._watch = asyncio.create_task(self._end_with_gang())

    async def check_health(self) -> None:
        """Called by Serve; raises when the engine hangs."""
        if not await self._gang.is_healthy(timeout_s=5.0):
            raise RuntimeError(f"{self._gang.name}: the engine makes no progress")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve, if the deployment is autoscaled."""
        return load_of(await self._gang.report())

    async def _end_with_gang(self) -> None:
        reason = await self._gang.wait_until_lost()
        logger.error("%s: %s; the replica ends", self._gang.name, reason)
        # Serve counts a dead replica at once, an unhealthy one only after several checks.
        os._exit(1)
