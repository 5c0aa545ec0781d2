"""The Dockerfile, read: no container engine is needed. image_steps.py runs its steps."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from legato.deployments.arguments import parse
from legato.deployments.openai.auth import PUBLIC_PATHS
from legato.kernels.gpu.toolchain import MIN_VERSION
from legato.tests.k8s.dockerfile import (
    DOCKERFILE,
    arguments,
    context_names,
    copy_context,
    read_instructions,
    values,
)
from legato.tests.k8s.manifests import BASE, pod_templates
from legato.tests.source_tree import PACKAGE_FOLDERS, REPOSITORY


def test_it_is_the_wheel_with_the_versions_that_are_tested() -> None:
    (install,) = [value for value in values("RUN") if "pip install" in value]
    assert "--constraint /opt/legato/constraints.txt" in install
    assert "/opt/legato/wheels/*.whl" in install
    assert "COPY constraints.txt /opt/legato/constraints.txt" in DOCKERFILE.read_text()


def test_the_context_is_what_the_wheel_needs_and_no_more() -> None:
    names = context_names()
    assert set(names) == {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"} | set(
        PACKAGE_FOLDERS
    )
    assert not [name for name in names if not (REPOSITORY / name).exists()]


def test_caches_stay_outside(tmp_path: Path) -> None:
    copy_context(tmp_path / "context")
    assert (tmp_path / "context" / "engine" / "py.typed").is_file()
    assert not list((tmp_path / "context").rglob("__pycache__"))


def test_the_assembler_is_new_enough_for_the_kernels() -> None:
    requirement = Requirement(arguments()["GPU_PACKAGES"])
    minimum = ".".join(map(str, MIN_VERSION))
    assert requirement.name == "nvidia-cuda-nvcc"
    assert str(requirement.specifier) == f">={minimum}"
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["gpu"] == [arguments()["GPU_PACKAGES"]]


def test_its_user_is_the_pods_and_not_root() -> None:
    last = [one for one in read_instructions() if one.name == "USER"][-1]
    assert last.value == "${UID}:${UID}"
    security = pod_templates(BASE)["head"]["spec"]["securityContext"]
    assert arguments()["UID"] == str(security["runAsUser"]) != "0"


def test_a_command_line_for_vllms_image_works_behind_its_entry_point() -> None:
    (entry,) = [one for one in read_instructions() if one.name == "ENTRYPOINT"]
    name, *words = entry.words()
    assert name == "legato"
    command = parse([*words, "--model", "M", "--port", "8000", "--max-model-len", "8192"], {})
    assert command.config.server.host == "0.0.0.0"


def test_its_health_is_a_path_that_needs_no_key() -> None:
    (check,) = values("HEALTHCHECK")
    path = check.rstrip('"]').rpartition("8000")[2]
    assert path == "/ready"
    assert path in PUBLIC_PATHS


def test_no_step_fetches_and_runs_a_script() -> None:
    assert not [value for value in values("RUN") if "curl" in value or "| " in value]
    assert not values("ADD")
