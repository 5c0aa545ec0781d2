"""The application graph, as Serve gets it; nothing is started."""

import os
import pickle
from typing import Any

import pytest
from ray.serve import Application, Deployment

from legato.cluster.placement import Role
from legato.deployments.app import MAX_ONGOING_REQUESTS, build_application
from legato.deployments.config import AppConfig
from legato.deployments.router import RouterOptions
from legato.deployments.worker import WorkerOptions


def configured(**options: Any) -> AppConfig:
    return AppConfig.from_options({"model": "m", "device": "cpu"} | options)


def deployment_of(application: Application) -> Deployment:
    found = application._bound_deployment  # Serve has no public way to look into a graph
    assert isinstance(found, Deployment)
    return found


def arguments_of(deployment: Deployment) -> tuple[Any, ...]:
    """What the deployment was bound to."""
    arguments: Any = deployment.init_args  # typed as an empty tuple
    return tuple(arguments)


class Graph:
    """The deployments of an application, taken apart."""

    def __init__(self, application: Application) -> None:
        self.router = deployment_of(application)
        options, workers = arguments_of(self.router)
        assert isinstance(options, RouterOptions)
        self.router_options = options
        self.workers = {one.name: one for one in map(deployment_of, workers)}

    def worker_options(self, name: str) -> WorkerOptions:
        (options,) = arguments_of(self.workers[name])
        assert isinstance(options, WorkerOptions)
        return options


def test_there_is_a_router_in_front_of_both_kinds_of_workers() -> None:
    config = configured(prefill_replicas=2, decode_replicas=3, router_replicas=4)
    graph = Graph(build_application(config, listens=True))
    assert (graph.router.name, graph.router.num_replicas) == ("router", 4)
    replicas = {name: one.num_replicas for name, one in graph.workers.items()}
    assert replicas == {"prefill-worker": 2, "decode-worker": 3}
    for role in Role:
        options = graph.worker_options(f"{role}-worker")
        assert options.role is role
        assert options.engine == config.engine


def test_without_prefill_workers_there_is_no_deployment_of_them() -> None:
    graph = Graph(build_application(configured(prefill_replicas=0), listens=True))
    assert set(graph.workers) == {"decode-worker"}


def test_what_is_built_again_is_the_same() -> None:
    one, other = (Graph(build_application(configured(), listens=True)) for _ in range(2))
    assert one.router_options == other.router_options
    for name in one.workers:
        assert one.worker_options(name) == other.worker_options(name)


def test_workers_are_not_told_the_keys_of_clients() -> None:
    graph = Graph(build_application(configured(api_key="a-key"), listens=True))
    for name in graph.workers:
        assert b"a-key" not in pickle.dumps(graph.worker_options(name))


@pytest.mark.parametrize(("device", "surge_percent"), [("cpu", 100), ("cuda", 0)])
def test_a_new_worker_starts_before_an_old_one_leaves_where_that_takes_no_gpu(
    device: str, surge_percent: int
) -> None:
    config = configured(device=device, prefill_replicas=1)
    graph = Graph(build_application(config, listens=False))
    for worker in graph.workers.values():
        assert worker._deployment_config.max_surge_percent == surge_percent
    assert graph.router._deployment_config.max_surge_percent == 100


def test_serves_defaults_that_hurt_streams_are_changed() -> None:
    graph = Graph(build_application(configured(shutdown_timeout=7), listens=True))
    for deployment in (graph.router, *graph.workers.values()):
        assert deployment.max_ongoing_requests == MAX_ONGOING_REQUESTS
        assert deployment._deployment_config.graceful_shutdown_timeout_s > 7  # its own drain ends


def test_the_router_is_told_the_whole_configuration() -> None:
    config = configured(max_num_queued_reqs=5, local_prefill_max_tokens=17)
    options = Graph(build_application(config, listens=True)).router_options
    assert options.config == config


@pytest.mark.parametrize("listens", [True, False])
def test_the_router_listens_itself_where_serve_does_not(listens: bool) -> None:
    graph = Graph(build_application(configured(), listens))
    assert graph.router_options.listens == listens


def test_on_a_cpu_the_machines_cores_are_shared_by_the_workers() -> None:
    config = configured(prefill_replicas=1, decode_replicas=1)
    graph = Graph(build_application(config, listens=True))
    options = graph.worker_options("decode-worker")
    assert options.resources.num_gpus == 0
    assert options.num_threads == max(1, (os.cpu_count() or 1) // 2)


def test_on_gpus_each_rank_has_a_bundle_with_one() -> None:
    config = configured(device="cuda", tensor_parallel_size=4, prefill_replicas=1)
    graph = Graph(build_application(config, listens=True))
    options = graph.worker_options("decode-worker")
    assert options.num_threads is None
    assert options.resources.num_gpus == 1
    bundles = graph.workers["decode-worker"]._replica_config.placement_group_bundles
    assert bundles is not None
    own, *ranks = bundles
    assert "GPU" not in own
    assert ranks == [{"CPU": 1, "GPU": 1}] * 4
