"""A worker's actors on a real Ray: how their start fails, and how their end is noticed.

A gang that serves is tested with the whole cluster.
"""

import asyncio
from pathlib import Path

import pytest
import ray

from legato.cluster.engine_actor import EngineActorOptions
from legato.cluster.gang import Gang, GangResources
from legato.cluster.membership import NAMESPACE, ActorName
from legato.cluster.placement import Role
from legato.engine.config import EngineConfig
from legato.engine.errors import ConfigError, EngineError


def start(directory: Path) -> Gang:
    config = EngineConfig.from_options({"model": str(directory), "device": "cpu"})
    options = EngineActorOptions(config, "secret", num_threads=1)
    resources = GangResources(num_cpus=0.01, num_gpus=0)
    return Gang.start(ActorName.fresh("app", Role.DECODE), options, resources)


@pytest.mark.parametrize(
    ("resources", "bundle"),
    [
        (GangResources(0.5, 0), {"CPU": 0.5}),
        (GangResources(1, 2), {"CPU": 1, "GPU": 2}),
        (GangResources(0, 1), {"GPU": 1}),
    ],
)
def test_a_bundle_names_only_what_is_wanted(
    resources: GangResources, bundle: dict[str, float]
) -> None:
    assert resources.bundle() == bundle


async def test_a_model_that_cannot_be_served_is_the_operators_fault(
    local_ray: None, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{ this is no JSON")
    gang = start(tmp_path)
    async with asyncio.timeout(60):
        with pytest.raises(ConfigError) as caught:
            await gang.load()
        assert type(caught.value) is ConfigError
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert await gang.wait_until_lost() == "the engine's process died"
        assert not await gang.is_healthy(timeout_s=10)


async def test_a_gang_that_is_killed_while_it_starts_is_no_fault_of_the_operator(
    local_ray: None, tmp_path: Path
) -> None:
    gang = start(tmp_path)
    ray.get_actor(str(gang.name), NAMESPACE)
    gang.stop()
    async with asyncio.timeout(60):
        with pytest.raises(EngineError, match="died while it started"):
            await gang.load()
