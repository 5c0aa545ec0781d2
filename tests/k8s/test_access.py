"""Who may reach what: policies, ways in, secrets, what a pod's processes may do."""

import re
from pathlib import Path

import pytest

from legato.tests.k8s.manifests import (
    CLUSTERS,
    K8S,
    Document,
    built,
    built_with,
    containers,
    environment,
    ids,
    of_kind,
    pod_templates,
    ray_service,
    serve_config,
)

SECRET = re.compile(r"key|token|password|secret", re.IGNORECASE)
every_cluster = pytest.mark.parametrize("folder", CLUSTERS, ids=ids)


def _selects(selector: Document, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {})
    expressions = selector.get("matchExpressions", [])
    assert all(one["operator"] == "In" for one in expressions)
    return wanted.items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def _selected(folder: Path, selector: Document) -> set[str]:
    """The groups of pods that a selector finds."""
    return {
        name
        for name, template in pod_templates(folder).items()
        if _selects(selector, template["metadata"]["labels"])
    }


def _allowed(folder: Path) -> dict[str, set[int]]:
    """Which ports of which pods are open to others than the cluster's own pods."""
    found: dict[str, set[int]] = {name: set() for name in pod_templates(folder)}
    for policy in of_kind(built(folder), "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            for port in rule.get("ports", []):
                ports = range(port["port"], port.get("endPort", port["port"]) + 1)
                for name in _selected(folder, policy["spec"]["podSelector"]):
                    found[name] |= set(ports)
    return found


@every_cluster
def test_only_the_cluster_itself_reaches_ray(folder: Path) -> None:
    for name, ports in _allowed(folder).items():
        assert not ports & {6379, 10001, 52365}
        assert (8265 in ports) == (name == "head")
        assert (8000 in ports) == (name != "head")
    for policy in of_kind(built(folder), "NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        assert all(rule["from"] for rule in policy["spec"]["ingress"])


@every_cluster
def test_every_pod_is_closed_but_for_what_a_policy_opens(folder: Path) -> None:
    policies = of_kind(built(folder), "NetworkPolicy")
    (within,) = [one for one in policies if one["metadata"]["name"] == "legato-within"]
    assert _selected(folder, within["spec"]["podSelector"]) == set(pod_templates(folder))


@every_cluster
def test_ray_asks_for_a_token(folder: Path) -> None:
    assert ray_service(folder)["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}


@every_cluster
def test_no_secret_stands_in_a_manifest(folder: Path) -> None:
    for container in containers(folder):
        assert not [name for name in environment(container) if SECRET.search(name)]
        names = {one["name"] for one in container["env"] if "valueFrom" in one}
        assert names == {"VLLM_API_KEY", "HF_TOKEN"}
    for app in serve_config(folder)["applications"]:
        assert "api_key" not in app["args"]  # the RayService is not a secret: many may read it
    assert not of_kind(built(folder), "Secret")


@every_cluster
def test_no_process_is_root_or_can_become_it(folder: Path) -> None:
    for template in pod_templates(folder).values():
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        assert template["spec"]["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        for container in template["spec"]["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"]["drop"] == ["ALL"]


@every_cluster
def test_budgets_protect_pods_that_there_are(folder: Path) -> None:
    cluster = ray_service(folder)["spec"]["rayClusterConfig"]
    replicas = {group["groupName"]: group["replicas"] for group in cluster["workerGroupSpecs"]}
    for budget in of_kind(built(folder), "PodDisruptionBudget"):
        (name,) = _selected(folder, budget["spec"]["selector"])
        assert budget["spec"]["minAvailable"] <= replicas.get(name, 1)


@every_cluster
def test_monitors_ask_the_ports_that_routers_listen_on(folder: Path) -> None:
    monitors = {one["metadata"]["name"]: one for one in of_kind(built(folder), "PodMonitor")}
    if not monitors:
        return
    routers = monitors["legato-routers"]["spec"]
    asked = {endpoint["portNumber"] for endpoint in routers["podMetricsEndpoints"]}
    assert {endpoint["path"] for endpoint in routers["podMetricsEndpoints"]} == {"/metrics"}
    one = environment(next(containers(folder)))
    first, last = (int(one[f"RAY_SERVE_DIRECT_INGRESS_{end}_HTTP_PORT"]) for end in ("MIN", "MAX"))
    assert asked == set(range(first, last + 1))
    assert _selected(folder, routers["selector"]) == {"router"}
    assert asked <= _allowed(folder)["router"]


@pytest.mark.parametrize("name", ["ingress-nginx", "gateway"])
def test_ways_in_lead_to_the_service_and_wait_for_long_answers(name: str, tmp_path: Path) -> None:
    documents = built_with(K8S / "components" / name, tmp_path, K8S / "overlays" / "laptop")
    text = str(documents)
    assert "'legato-serve-svc'" in text  # as KubeRay names the Service of RayService legato
    assert f"{ray_service(K8S / 'overlays' / 'laptop')['metadata']['name']}-serve-svc" in text
    (path,) = re.findall(r"'(?:path|value)': '(/v1)'", text)
    assert path == "/v1"  # no metrics, no probes
    if name == "gateway":
        ((rule,),) = [one["spec"]["rules"] for one in of_kind(documents, "HTTPRoute")]
        assert rule["timeouts"] == {"request": "600s", "backendRequest": "600s"}
    else:
        (ingress,) = of_kind(documents, "Ingress")
        prefix = "nginx.ingress.kubernetes.io/"
        notes = ingress["metadata"]["annotations"]
        assert notes[f"{prefix}proxy-buffering"] == "off"
        assert int(notes[f"{prefix}proxy-read-timeout"]) >= 600
