"""The application graph, as Serve gets it; nothing is started."""

import os
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
        assert options.engine.engine == config.engine


def test_without_prefill_workers_there_is_no_deployment_of_them() -> None:
    graph = Graph(build_application(configured(prefill_replicas=0), listens=True))
    assert set(graph.workers) == {"decode-worker"}


def test_all_know_the_same_secret_and_no_other_application_does() -> None:
    one, other = (Graph(build_application(configured(), listens=True)) for _ in range(2))
    known = {
        (options.application, options.engine.secret)
        for options in map(one.worker_options, one.workers)
    }
    client = one.router_options.client
    assert known == {(client.application, client.secret)}
    assert len(client.secret) >= 32
    assert other.router_options.client.secret != client.secret
    assert other.router_options.client.application != client.application


def test_serves_defaults_that_hurt_streams_are_changed() -> None:
    graph = Graph(build_application(configured(shutdown_timeout=7), listens=True))
    for deployment in (graph.router, *graph.workers.values()):
        assert deployment.max_ongoing_requests == MAX_ONGOING_REQUESTS
        assert deployment._deployment_config.graceful_shutdown_timeout_s == 7


def test_the_routers_limits_are_those_of_the_configuration() -> None:
    config = configured(max_num_queued_reqs=5, local_prefill_max_tokens=17)
    options = Graph(build_application(config, listens=True)).router_options
    assert options.client.max_queued_requests == 5
    assert options.client.local_prefill_max_tokens == 17
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
    assert options.engine.num_threads == max(1, (os.cpu_count() or 1) // 2)


def test_on_gpus_each_rank_has_a_bundle_with_one() -> None:
    config = configured(device="cuda", tensor_parallel_size=4, prefill_replicas=1)
    graph = Graph(build_application(config, listens=True))
    options = graph.worker_options("decode-worker")
    assert options.engine.num_threads is None
    assert options.resources.num_gpus == 1
    bundles = graph.workers["decode-worker"]._replica_config.placement_group_bundles
    assert bundles is not None
    own, *ranks = bundles
    assert "GPU" not in own
    assert ranks == [{"CPU": 1, "GPU": 1}] * 4
