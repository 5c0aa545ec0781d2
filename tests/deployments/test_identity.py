"""The name by which an application's processes find each other."""

from typing import Any

import pytest

from legato.cluster.membership import ActorName
from legato.cluster.placement import Role
from legato.deployments.identity import cluster_name
from legato.engine.config import EngineConfig


def _named(application: str = "legato", **options: Any) -> str:
    return cluster_name(application, EngineConfig.from_options({"model": "m"} | options))


@pytest.mark.parametrize(
    "options",
    [
        {"max_num_seqs": 7},
        {"max_num_batched_tokens": 99},
        {"gpu_memory_utilization": 0.5},
        {"num_gpu_blocks_override": 100},
        {"kv_cache_memory_bytes": 1 << 20},
    ],
)
def test_processes_that_understand_each_other_have_one_name(options: dict[str, Any]) -> None:
    assert _named(**options) == _named()


@pytest.mark.parametrize(
    "options",
    [
        {"model": "n"},
        {"dtype": "float16"},
        {"max_model_len": 5},
        {"block_size": 8},
        {"tensor_parallel_size": 2},
    ],
)
def test_processes_that_do_not_have_another(options: dict[str, Any]) -> None:
    assert _named(**options) != _named()


@pytest.mark.parametrize("application", ["legato", "a:b", "größe/1 2", "%3A"])
def test_any_name_of_an_application_is_fit_for_an_actors(application: str) -> None:
    name = ActorName.fresh(_named(application), Role.DECODE)
    assert ActorName.parse(str(name)) == name


def test_applications_are_told_apart() -> None:
    assert len({_named("a:b"), _named("a%3Ab"), _named("ab")}) == 3
