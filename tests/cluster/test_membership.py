"""Names that say what an actor is, and the registry that Ray keeps of them."""

import time
from typing import Any

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from legato.cluster.membership import (
    NAMESPACE,
    ActorName,
    is_dead,
    live_actor_names,
    live_workers,
)
from legato.cluster.placement import Role


@given(st.text("abc-_.019", min_size=1), st.sampled_from(Role), st.integers(0, 1000))
def test_a_name_is_read_back_as_it_was_written(application: str, role: Role, rank: int) -> None:
    name = ActorName(application, role, "0a1b", rank)
    assert ActorName.parse(str(name)) == name


def test_a_fresh_name_is_rank_0_and_like_no_other() -> None:
    names = {ActorName.fresh("app", Role.DECODE) for _ in range(100)}
    assert len(names) == 100
    assert {name.rank for name in names} == {0}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "SERVE_CONTROLLER_ACTOR",
        "legato:app:decode:1",
        "legato:app:decode:1:0:0",
        "legato:app:decode:1:x",
        "legato:app:decode:1:-1",
        "legato:app:cook:1:0",
        "staccato:app:decode:1:0",
    ],
)
def test_a_foreign_name_is_none_of_ours(name: str) -> None:
    assert ActorName.parse(name) is None


class Nobody:
    """An actor that does nothing."""


def start(name: ActorName, namespace: str | None = NAMESPACE) -> Any:
    """A live actor of that name."""
    actor = ray.remote(Nobody)
    return actor.options(name=str(name), namespace=namespace, num_cpus=0.01).remote()


def test_an_actor_counts_until_it_is_killed(local_ray: None) -> None:
    ours, rank_1 = ActorName.fresh("app", Role.DECODE), ActorName("app", Role.DECODE, "x", 1)
    other = ActorName.fresh("other", Role.PREFILL)
    actors = {name: start(name) for name in (ours, rank_1, other)}
    elsewhere = start(ActorName.fresh("app", Role.DECODE), namespace=None)
    assert live_actor_names() == {str(ours), str(rank_1), str(other)}
    assert live_workers("app") == [ours]
    assert live_workers("nobody's") == []
    assert not is_dead(str(ours))
    ray.kill(actors[ours])
    deadline = time.monotonic() + 10
    while live_workers("app"):
        assert time.monotonic() < deadline
    assert is_dead(str(ours))
    assert not is_dead(str(other))
    del elsewhere
