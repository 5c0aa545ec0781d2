"""k8s/README.md tells of everything that is there, and of nothing else."""

import re

from legato.deployments.arguments import parse
from legato.tests.k8s.manifests import COMPONENTS, K8S, OVERLAYS, ray_service

TEXT = (K8S / "README.md").read_text(encoding="utf-8")


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#\s]+)\)", TEXT)
    assert targets
    assert not [target for target in targets if not (K8S / target).exists()]


def test_every_overlay_and_component_is_described() -> None:
    for folder in (*OVERLAYS, *COMPONENTS):
        assert f"]({folder.relative_to(K8S)})" in TEXT


def test_the_tables_numbers_of_gpus_are_the_overlays() -> None:
    for folder in OVERLAYS:
        row = re.search(rf"^\| \[{folder.name}\][^|]*\| ([^|]+) \|", TEXT, re.MULTILINE)
        assert row is not None, folder.name
        groups = ray_service(folder)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        for group in groups:
            (container,) = group["template"]["spec"]["containers"]
            gpus = int(container["resources"]["limits"].get("nvidia.com/gpu", 0))
            if gpus:
                fewest, most = (gpus * group[f"{end}Replicas"] for end in ("min", "max"))
                assert row[1] in (f"{most}", f"{fewest} to {most}")
                break
        else:
            assert row[1] == "0"


def test_the_flags_of_its_command_exist() -> None:
    (words,) = re.findall(r"^docker run .* legato:\S+ (.*)$", TEXT, re.MULTILINE)
    parse(["serve", *words.split()], {})
