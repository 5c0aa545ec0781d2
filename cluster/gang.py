"""A worker as a gang: one engine actor for each tensor-parallel rank, placed together.

    placement group   bundle 0          bundle 1 .. n
                      the caller        one engine actor each, rank 0 .. n-1

The gang lives and dies as one: a rank that is lost ends the others. It knows no Serve; a Serve
replica, a test or a script may own one. If the owner dies, Ray ends the actors with it.
"""

import asyncio
import dataclasses
from dataclasses import dataclass
from typing import Any  # ray's actor handles have no usable type

import ray
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from legato.cluster.engine_actor import EngineActor, EngineActorOptions, WorkerDescription
from legato.cluster.membership import NAMESPACE, ActorName
from legato.cluster.wire import Report
from legato.engine.errors import ConfigError, EngineError, LegatoError

# Some calls last as long as the actor (waiting for its end), others carry blocks.
MAX_CONCURRENT_CALLS = 1000


@dataclass(frozen=True, slots=True)
class GangResources:
    """What each rank asks of Ray."""

    num_cpus: float
    num_gpus: float

    def bundle(self) -> dict[str, float]:
        wanted = {"CPU": self.num_cpus, "GPU": self.num_gpus}
        return {name: amount for name, amount in wanted.items() if amount}


class Gang:
    """The engine actors of one worker."""

    def __init__(self, name: ActorName, ranks: list[Any]) -> None:
        self.name = name
        self._ranks = ranks

    @classmethod
    def start(
        cls,
        name: ActorName,
        options: EngineActorOptions,
        resources: GangResources,
        group: PlacementGroup | None = None,
        node_id: str | None = None,
    ) -> "Gang":
        """Creates the actors: rank r in bundle r + 1 of `group`, or all on node `node_id`."""
        size = options.engine.parallel.tensor_parallel_size
        ranks = []
        for rank in range(size):
            ranks.append(
                EngineActor.options(
                    name=str(dataclasses.replace(name, rank=rank)),
                    namespace=NAMESPACE,
                    num_cpus=resources.num_cpus,
                    num_gpus=resources.num_gpus,
                    scheduling_strategy=_strategy(rank, group, node_id),
                    max_restarts=0,
                    max_concurrency=MAX_CONCURRENT_CALLS,
                ).remote(str(dataclasses.replace(name, rank=rank)), options)
            )
        return cls(name, ranks)

    async def load(self) -> WorkerDescription:
        """Loads the model on every rank and starts serving; describes rank 0.

        Raises:
            ConfigError: the model cannot be served (the message says why).
            EngineError: an actor died. The gang is stopped then.
        """
        try:
            return await self._load()
        except LegatoError:
            self.stop()
            raise

    async def _load(self) -> WorkerDescription:
        try:
            descriptions: list[WorkerDescription] = await asyncio.gather(
                *(rank.load.remote() for rank in self._ranks)
            )
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, LegatoError):
                raise ConfigError(str(cause)) from None
            raise EngineError(f"a worker of {self.name} failed to start: {cause}") from error
        except ray.exceptions.RayActorError as error:
            raise EngineError(f"a worker of {self.name} died while it started") from error
        return descriptions[0]

    async def wait_until_lost(self) -> str:
        """Returns, with a reason, when any rank has died or its engine has."""
        waiting = [asyncio.ensure_future(self._wait_for(rank)) for rank in self._ranks]
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return done.pop().result()

    async def is_healthy(self, timeout_s: float) -> bool:
        """True if every rank answers within `timeout_s` and its engine makes progress."""
        try:
            answers: list[bool] = await asyncio.wait_for(
                asyncio.gather(*(rank.is_healthy.remote() for rank in self._ranks)), timeout_s
            )
        except (ray.exceptions.RayError, TimeoutError):
            return False
        return all(answers)

    async def report(self) -> Report | None:
        """What rank 0 reported last; None before its first report."""
        report: Report | None = await self._ranks[0].report.remote()
        return report

    async def configure(self, log_level: str, prefill_token_budget: int | None) -> None:
        """See EngineRank.configure; for all ranks."""
        await asyncio.gather(
            *(rank.configure.remote(log_level, prefill_token_budget) for rank in self._ranks)
        )

    def stop(self) -> None:
        for rank in self._ranks:
            ray.kill(rank)

    @staticmethod
    async def _wait_for(rank: Any) -> str:
        try:
            reason = await rank.wait_until_dead.remote()
        except ray.exceptions.RayError:
            return "the engine's process died"
        return str(reason)


def _strategy(rank: int, group: PlacementGroup | None, node_id: str | None) -> Any:
    if group is not None:
        return PlacementGroupSchedulingStrategy(group, rank + 1)
    if node_id is not None:
        return NodeAffinitySchedulingStrategy(node_id, soft=False)
    return "DEFAULT"
