"""The RayService of every overlay: KubeRay, Ray Serve and Legato would take it."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from ray.serve.config import AutoscalingPolicy
from ray.serve.schema import ServeDeploySchema

from legato.deployments.app import SERVE_ENVIRONMENT
from legato.deployments.autoscaling import TowardsTargets, load_of
from legato.deployments.config import AppConfig
from legato.deployments.openai.auth import PUBLIC_PATHS
from legato.engine.errors import ConfigError
from legato.tests.cluster.reports import make_report
from legato.tests.k8s.manifests import (
    BASE,
    CLUSTERS,
    COMPONENTS,
    K8S,
    OVERLAYS,
    Document,
    application,
    built_with,
    containers,
    environment,
    ids,
    of_kind,
    pod_templates,
    ray_service,
    serve_config,
)
from legato.tests.source_tree import REPOSITORY

WITH_GPUS = [folder for folder in OVERLAYS if folder.name != "laptop"]
SCHEMA: Document = json.loads(
    Path(__file__).with_name("rayservice_schema.json").read_text(encoding="utf-8")
)
WORKERS = {"prefill-worker", "decode-worker"}
every_cluster = pytest.mark.parametrize("folder", CLUSTERS, ids=ids)
every_gpu_cluster = pytest.mark.parametrize("folder", WITH_GPUS, ids=ids)


def _config(folder: Path) -> AppConfig:
    return AppConfig.from_options(application(folder)["args"])


def _group(folder: Path, name: str) -> Document:
    groups = ray_service(folder)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    (found,) = [group for group in groups if group["groupName"] == name]
    group: Document = found
    return group


@every_cluster
def test_kuberay_knows_every_field(folder: Path) -> None:
    jsonschema.validate(ray_service(folder), SCHEMA)


def test_a_field_that_kuberay_does_not_know_is_refused() -> None:
    service = copy.deepcopy(ray_service(BASE))
    service["spec"]["rayClusterConfig"]["headGroupSpec"]["replica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate(service, SCHEMA)


@pytest.mark.parametrize("component", COMPONENTS, ids=ids)
def test_every_component_can_be_added_to_an_overlay(component: Path, tmp_path: Path) -> None:
    overlay = K8S / "overlays" / "tensor-parallel"
    if component.name == "prometheus-operator":  # GPU overlays have it already
        overlay = K8S / "overlays" / "laptop"
    documents = built_with(component, tmp_path, overlay)
    (service,) = of_kind(documents, "RayService")
    jsonschema.validate(service, SCHEMA)


@every_cluster
def test_serve_and_legato_take_the_configuration(folder: Path) -> None:
    ServeDeploySchema.model_validate(serve_config(folder))
    config = _config(folder)
    assert config.model.device != "auto"  # found out before the GPU pods have joined
    assert config.cluster.prefill_replicas is not None


def test_an_unknown_option_would_be_noticed() -> None:
    with pytest.raises(ConfigError, match="unknown option prefil_replicas"):
        AppConfig.from_options(application(BASE)["args"] | {"prefil_replicas": 1})


@every_cluster
def test_what_is_set_for_a_deployment_is_for_one_that_exists(folder: Path) -> None:
    names = {one["name"] for one in application(folder).get("deployments", [])}
    assert names <= {"router", *WORKERS}


@every_cluster
def test_all_pods_have_the_environment_that_the_builder_would_set(folder: Path) -> None:
    environments = [environment(container) for container in containers(folder)]
    for one in environments:
        assert one.items() >= SERVE_ENVIRONMENT.items()
        assert not [name for name, value in one.items() if not isinstance(value, str)]


@every_cluster
def test_the_version_of_ray_is_the_images(folder: Path) -> None:
    pins = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    version = ray_service(folder)["spec"]["rayClusterConfig"]["rayVersion"]
    assert f"ray=={version}" in pins
    assert len({container["image"] for container in containers(folder)}) == 1


@every_cluster
def test_a_pod_has_longer_to_end_than_its_streams(folder: Path) -> None:
    drain_s = _config(folder).server.shutdown_timeout
    for name, template in pod_templates(folder).items():
        if name == "head":
            continue
        spec = template["spec"]
        (container,) = spec["containers"]
        hard_stop_s = float(environment(container)["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"])
        hook = container["lifecycle"]["preStop"]["exec"]["command"][-1].split()
        deadline_s = float(hook[hook.index("--deadline-remaining-seconds") + 1])
        assert drain_s <= hard_stop_s < deadline_s < spec["terminationGracePeriodSeconds"]
    assert ray_service(folder)["spec"]["rayClusterDeletionDelaySeconds"] > drain_s


@every_cluster
def test_probes_ask_for_what_needs_no_key(folder: Path) -> None:
    (container,) = _group(folder, "router")["template"]["spec"]["containers"]
    paths = {
        kind: container[kind]["httpGet"]["path"]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert paths == {"startupProbe": "/live", "readinessProbe": "/ready", "livenessProbe": "/live"}
    assert set(paths.values()) <= PUBLIC_PATHS


@every_cluster
def test_shared_memory_and_model_cache_are_mounted_where_they_are_used(folder: Path) -> None:
    for name, template in pod_templates(folder).items():
        spec = template["spec"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        (container,) = spec["containers"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
        assert set(mounts.values()) == set(volumes)
        assert ("/cache" in mounts) == (name != "head")


@every_gpu_cluster
def test_the_pods_at_the_start_have_a_gpu_for_every_rank(folder: Path) -> None:
    config, group = _config(folder), _group(folder, "gpu")
    gpus_per_pod = _gpus(group)
    num_ranks = config.parallel.tensor_parallel_size
    assert config.cluster.prefill_replicas is not None
    num_workers = config.cluster.prefill_replicas + config.cluster.decode_replicas
    assert gpus_per_pod >= num_ranks  # a gang stays on one machine
    assert num_workers * num_ranks == group["replicas"] * gpus_per_pod
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.parametrize(("group", "names"), [("gpu", WORKERS), ("router", {"router"})])
def test_pods_may_be_as_few_and_as_many_as_their_replicas(group: str, names: set[str]) -> None:
    folder = K8S / "overlays" / "autoscaled"
    for kubernetes, serve in (("minReplicas", "min_replicas"), ("maxReplicas", "max_replicas")):
        limits = {
            one["name"]: one["autoscaling_config"][serve]
            for one in application(folder)["deployments"]
        }
        assert sum(limits[name] for name in names) == _group(folder, group)[kubernetes]


def test_workers_are_scaled_by_what_they_say() -> None:
    for one in application(K8S / "overlays" / "autoscaled")["deployments"]:
        if one["name"] in WORKERS:
            policy = AutoscalingPolicy(**one["autoscaling_config"]["policy"])
            assert policy.get_policy() is TowardsTargets
            TowardsTargets(**policy.policy_kwargs)
            assert policy.policy_kwargs["targets"].keys() < load_of(make_report()).keys()


@every_gpu_cluster
def test_each_router_has_a_pod_of_its_own(folder: Path) -> None:
    group = _group(folder, "router")
    (router,) = [one for one in application(folder)["deployments"] if one["name"] == "router"]
    assert router["max_replicas_per_node"] == 1
    assert router["max_surge_percent"] == 0  # it would wait for a place for ever
    assert router["ray_actor_options"]["label_selector"] == group["labels"]
    assert _config(folder).cluster.router_replicas == group["replicas"]


@every_cluster
def test_steps_of_an_upgrade_need_the_autoscaler(folder: Path) -> None:
    spec = ray_service(folder)["spec"]
    in_steps = spec["upgradeStrategy"]["type"] == "NewClusterWithIncrementalUpgrade"
    assert in_steps <= spec["rayClusterConfig"].get("enableInTreeAutoscaling", False)


def _gpus(group: dict[str, Any]) -> int:
    (container,) = group["template"]["spec"]["containers"]
    return int(container["resources"]["limits"]["nvidia.com/gpu"])
