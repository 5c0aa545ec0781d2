"""What kustomize makes of k8s/: each overlay's documents, as `kubectl apply` would send them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from legato.tests.source_tree import REPOSITORY

K8S = REPOSITORY / "k8s"
BASE = K8S / "base"
OVERLAYS = sorted(path.parent for path in (K8S / "overlays").glob("*/kustomization.yaml"))
COMPONENTS = sorted(path.parent for path in (K8S / "components").glob("*/kustomization.yaml"))
CLUSTERS = [BASE, *OVERLAYS]

Document = dict[str, Any]


@cache
def built(folder: Path) -> list[Document]:
    """Every document of a kustomization; skips the test where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl, whose kustomize builds the manifests")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def built_with(component: Path, folder: Path, overlay: Path) -> list[Document]:
    """An overlay with a component added to it, from a kustomization in `folder`."""
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        # kustomize takes no absolute paths.
        "resources": [os.path.relpath(overlay, folder)],
        "components": [os.path.relpath(component, folder)],
    }
    text = yaml.safe_dump(kustomization)
    (folder / "kustomization.yaml").write_text(text, encoding="utf-8")
    return built(folder)


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def ray_service(folder: Path) -> Document:
    (service,) = of_kind(built(folder), "RayService")
    return service


def serve_config(folder: Path) -> Document:
    """serveConfigV2, which is YAML within YAML."""
    config: Document = yaml.safe_load(ray_service(folder)["spec"]["serveConfigV2"])
    return config


def application(folder: Path) -> Document:
    (found,) = serve_config(folder)["applications"]
    app: Document = found
    return app


def pod_templates(folder: Path) -> dict[str, Document]:
    """The pods' templates, by the name of their group; the head's is "head"."""
    cluster = ray_service(folder)["spec"]["rayClusterConfig"]
    groups = cluster.get("workerGroupSpecs", [])
    workers = {group["groupName"]: group["template"] for group in groups}
    return {"head": cluster["headGroupSpec"]["template"], **workers}


def containers(folder: Path) -> Iterator[Document]:
    for template in pod_templates(folder).values():
        yield from template["spec"]["containers"]


def environment(container: Document) -> dict[str, str]:
    """The variables that have a value in the manifest itself."""
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def ids(folder: Path) -> str:
    """An overlay's name, for pytest."""
    return folder.name
