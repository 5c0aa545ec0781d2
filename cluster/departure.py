"""How a worker leaves: it ends what it has begun, and never leaves its routers without a worker.

    SERVING --leave--> LEAVING --idle, and another worker serves--> gone
                          |-----no router is left-----------------> gone
                          '-----out of time: routers take up elsewhere what still runs--> gone

Routers that hear of it place new sequences elsewhere, if there is an elsewhere. Where every worker
leaves at once, as when all are replaced and there is no room for old and new ones together, they
go one after the other: the last one waits until a successor serves.
"""

import asyncio
import time
from typing import Any  # ray's actor handles have no usable type

import ray

from legato.cluster.engine_actor import Occupancy
from legato.cluster.gang import Gang
from legato.cluster.membership import NAMESPACE, ActorName, live_workers

LOOK_S = 0.2
# What was under way to the worker when its routers were told arrives within so many looks.
QUIET_LOOKS = 3
ANSWER_S = 2.0


async def depart(gang: Gang, timeout_s: float) -> None:
    """Returns when the gang may be stopped, after `timeout_s` seconds at the latest."""
    deadline = time.monotonic() + timeout_s
    rank_0 = await _find(gang.name)
    if rank_0 is None:
        return
    try:
        await asyncio.wait_for(rank_0.leave.remote(), timeout_s)
    except (ray.exceptions.RayError, TimeoutError):  # gone, or on a machine out of reach
        return
    num_quiet_looks = 0
    while num_quiet_looks < QUIET_LOOKS and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_S)
        occupancy = await _occupancy(rank_0)
        if occupancy is None or occupancy.num_routers == 0:
            return
        is_quiet = occupancy.num_requests == 0 and await _can_be_spared(gang.name)
        num_quiet_looks = num_quiet_looks + 1 if is_quiet else 0


async def _can_be_spared(worker: ActorName) -> bool:
    """Whether another worker stays, or leaves after this one."""
    names = await asyncio.to_thread(live_workers, worker.application)
    others = [name for name in names if name != worker]
    actors = await asyncio.gather(*map(_find, others))
    answers = await asyncio.gather(*map(_occupancy, actors))
    serving = {str(name): one for name, one in zip(others, answers, strict=True) if one}
    # Of those that leave, the first by name is the last to go.
    return any(not one.is_leaving or name < str(worker) for name, one in serving.items())


async def _find(name: ActorName) -> Any:
    """The rank-0 actor's handle; None if it is gone."""
    try:
        return await asyncio.to_thread(ray.get_actor, str(name), NAMESPACE)
    except ValueError:
        return None


async def _occupancy(actor: Any) -> Occupancy | None:
    """None if it does not serve: it loads, hangs, or is gone."""
    if actor is None:
        return None
    try:
        answer: Occupancy | None = await asyncio.wait_for(actor.occupancy.remote(), ANSWER_S)
    except (ray.exceptions.RayError, TimeoutError):
        return None
    return answer
