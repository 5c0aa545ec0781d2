"""The application graph: one router deployment in front of prefill and decode workers.

serve run legato.deployments.app:build model=... prefill_replicas=1 ...
serve deploy config.yaml            import_path: legato.deployments.app:build, args: {...}
legato serve ...                    build_application(config, listens=True)
"""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions

from legato.cluster.gang import GangResources
from legato.cluster.placement import Role
from legato.cluster.transfer.transport import KVTransport
from legato.deployments.arguments import environment_options
from legato.deployments.config import AppConfig
from legato.deployments.router import RouterOptions, RouterReplica
from legato.deployments.worker import WorkerOptions, WorkerReplica
from legato.engine.errors import ConfigError

# Replicas and CPU engines share the machine's cores by the operating system's scheduler: Ray only
# needs a resource to place them by.
NOMINAL_CPUS = 0.01
# Serve's defaults (5 requests at a time, 20 s to finish) are made for short calls.
MAX_ONGOING_REQUESTS = 100_000
HEALTH_CHECK_PERIOD_S = 1.0
HEALTH_CHECK_TIMEOUT_S = 15.0
# What a replica needs beyond its drain; later Serve kills it.
SHUTDOWN_MARGIN_S = 10.0

# Read by Serve's processes as they start; see Ray Serve's performance guide.
SERVE_ENVIRONMENT = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "FORWARDED_ALLOW_IPS": "",  # or uvicorn believes what HAProxy's clients say of themselves
    "RAY_worker_niceness": "0",  # Ray's default, 15, lets everything else on the machine go first
}


def build(args: Mapping[str, Any]) -> serve.Application:
    """The application for `serve run` and `serve deploy`; `args` are the flat options.

    The API key may come from the environment instead, as on the command line: a cluster's secret.

    Where no Ray runs yet (`serve run` on one machine), Ray and Serve are started here, with HAProxy
    and the throughput settings on, because both are read once, at the start of their processes. On
    a running cluster they come from its own configuration.

    Raises:
        ConfigError: an option is unknown or not usable.
    """
    config = AppConfig.from_options(environment_options(os.environ) | dict(args))
    if not ray.is_initialized():
        os.environ.update(SERVE_ENVIRONMENT)
        ray.init(include_dashboard=False, num_cpus=os.cpu_count())
        serve.start(http_options=HTTPOptions(host=config.server.host, port=config.server.port))
    return build_application(config, listens=False)


def build_application(config: AppConfig, listens: bool) -> serve.Application:
    """The graph; with `listens` the router listens on the configured address itself."""
    replicas = {Role.DECODE: config.cluster.decode_replicas, Role.PREFILL: num_prefillers(config)}
    workers = [
        _worker_deployment(config, role, num_replicas).bind(_worker_options(config, role))
        for role, num_replicas in replicas.items()
        if num_replicas
    ]
    return router_deployment(config, listens).bind(RouterOptions(config, listens), workers)


def _worker_deployment(config: AppConfig, role: Role, num_replicas: int) -> serve.Deployment:
    bundle = _resources(config).bundle()
    num_ranks = config.parallel.tensor_parallel_size
    deployment: Any = serve.deployment(WorkerReplica)  # typed as a decorator
    configured: serve.Deployment = deployment.options(
        name=f"{role}-worker",
        num_replicas=num_replicas,
        placement_group_bundles=[{"CPU": NOMINAL_CPUS}, *([bundle] * num_ranks)],
        placement_group_strategy="PACK",
        # A new worker starts before an old one leaves where that takes no GPU.
        max_surge_percent=0 if _uses_gpus(config) else 100,
        **_life(config),
    )
    return configured


def router_deployment(config: AppConfig, listens: bool) -> serve.Deployment:
    """The router's deployment; it is bound to `RouterOptions` and the workers' applications."""
    replica = RouterReplica if listens else serve.ingress()(RouterReplica)
    deployment: Any = serve.deployment(replica)  # typed as a decorator
    configured: serve.Deployment = deployment.options(
        name="router",
        num_replicas=config.cluster.router_replicas,
        max_surge_percent=100,
        **_life(config, _this_node() if listens else {}),
    )
    return configured


def _this_node() -> dict[str, float]:
    """What Ray asks of a node for it to be this one: the address to listen on is here."""
    return {f"node:{ray.util.get_node_ip_address()}": NOMINAL_CPUS}


def _life(
    config: AppConfig, resources: Mapping[str, float] = MappingProxyType({})
) -> dict[str, Any]:
    """What all deployments have in common; `resources` are Ray's, beside the nominal CPU."""
    return {
        "ray_actor_options": {"num_cpus": NOMINAL_CPUS, "resources": dict(resources)},
        "max_ongoing_requests": MAX_ONGOING_REQUESTS,
        # Never None, so that a setting that is taken back is heard of too; see live_settings.py.
        "user_config": {},
        "graceful_shutdown_timeout_s": config.server.shutdown_timeout + SHUTDOWN_MARGIN_S,
        "graceful_shutdown_wait_loop_s": 0.1,
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": HEALTH_CHECK_TIMEOUT_S,
    }


def _worker_options(config: AppConfig, role: Role) -> WorkerOptions:
    num_workers = num_prefillers(config) + config.cluster.decode_replicas
    num_threads = max(1, (os.cpu_count() or 1) // num_workers)
    return WorkerOptions(
        engine=config.engine,
        role=role,
        resources=_resources(config),
        kv_transport=KVTransport(config.cluster.kv_transport),
        num_threads=None if _uses_gpus(config) else num_threads,
        shutdown_timeout_s=config.server.shutdown_timeout,
    )


def _resources(config: AppConfig) -> GangResources:
    if _uses_gpus(config):
        return GangResources(num_cpus=1, num_gpus=1)
    return GangResources(num_cpus=NOMINAL_CPUS, num_gpus=0)


def num_prefillers(config: AppConfig) -> int:
    """Prefill workers; on a single GPU one worker does both, unless told otherwise."""
    if config.cluster.prefill_replicas is not None:
        return config.cluster.prefill_replicas
    return 0 if _uses_gpus(config) and _num_gpus() == 1 else 1


def check_gpus(config: AppConfig) -> None:
    """Checks that a cluster that cannot grow has a GPU for each rank.

    Raises:
        ConfigError: it has fewer; the message says how many are needed.
    """
    num_ranks = num_prefillers(config) + config.cluster.decode_replicas
    if _uses_gpus(config) and num_ranks > _num_gpus():
        raise ConfigError(
            f"{num_ranks} workers need {num_ranks} GPUs, but there are {_num_gpus()}: lower "
            "--prefill-replicas or --decode-replicas, or use --device cpu"
        )


def _uses_gpus(config: AppConfig) -> bool:
    """By the cluster's resources: the builder itself may run on a node without a GPU."""
    if config.model.device != "auto":
        return config.model.device == "cuda"
    return _num_gpus() > 0


def _num_gpus() -> int:
    return int(ray.cluster_resources().get("GPU", 0))
