"""Who is in the cluster: named Ray actors, read from Ray itself.

An engine actor's name says what it is: `legato:{application}:{role}:{unique id}:{rank}`. Ray's
own table of named actors is the registry, so there is no service of ours to lose, an actor that
is not in the table is dead for certain, and a restarted control plane brings everything back.
"""

import secrets
from dataclasses import dataclass

import ray
import ray.util

from legato.cluster.placement import Role

NAMESPACE = "legato"
_PREFIX = "legato"


@dataclass(frozen=True, slots=True)
class ActorName:
    """One rank of one worker. `str()` is the Ray actor's name."""

    application: str
    role: Role
    unique: str
    rank: int

    def __str__(self) -> str:
        return f"{_PREFIX}:{self.application}:{self.role}:{self.unique}:{self.rank}"

    @classmethod
    def fresh(cls, application: str, role: Role) -> "ActorName":
        """Rank 0 of a new worker."""
        return cls(application, role, secrets.token_hex(8), 0)

    @classmethod
    def parse(cls, name: str) -> "ActorName | None":
        """None if the name is not one of ours."""
        parts = name.split(":")
        if len(parts) != 5 or parts[0] != _PREFIX or not parts[4].isdigit():
            return None
        if parts[2] not in list(Role):
            return None
        return cls(parts[1], Role(parts[2]), parts[3], int(parts[4]))


def live_actor_names() -> set[str]:
    """Names of the engine actors that Ray knows as alive or starting. Blocks for milliseconds."""
    entries = ray.util.list_named_actors(all_namespaces=True)
    return {entry["name"] for entry in entries if entry["namespace"] == NAMESPACE}


def live_workers(application: str) -> list[ActorName]:
    """The rank-0 actors of an application's workers."""
    names = (ActorName.parse(name) for name in live_actor_names())
    return [name for name in names if name and name.application == application and name.rank == 0]


def is_dead(name: str) -> bool:
    """True only if the actor is certainly gone: none of its writes can be under way."""
    return name not in live_actor_names()
