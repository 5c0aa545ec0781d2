"""No module imports itself, however long the way round."""

import ast
import graphlib
from pathlib import Path

import pytest

from legato.tests.source_tree import PACKAGE_FOLDERS, Module, imports, modules


def _import_graph(found: tuple[Module, ...]) -> dict[str, set[str]]:
    """Module name -> the names of those that it imports, among `found`."""
    known = {module.name for module in found}
    graph: dict[str, set[str]] = {}
    for module in found:
        # `from a.b import C` is a.b.C: the module is a.b.C or, if there is none, a.b.
        names = {name for _, name in imports(module)}
        candidates = names | {name.rpartition(".")[0] for name in names}
        graph[module.name] = candidates & known
    return graph


def test_the_imports_of_all_packages_can_be_put_in_order() -> None:
    graph = _import_graph(modules(*PACKAGE_FOLDERS))
    assert "legato.engine.errors" in graph["legato.engine.config"]
    graphlib.TopologicalSorter(graph).prepare()


def _module(name: str, source: str) -> Module:
    return Module(f"legato.engine.{name}", Path(f"{name}.py"), source, ast.parse(source))


def test_a_cycle_is_noticed_whichever_way_the_imports_are_written() -> None:
    one = _module("one", "from legato.engine.two import thing")
    two = _module("two", "import legato.engine.three")
    three = _module("three", "from legato.engine import one")
    graphlib.TopologicalSorter(_import_graph((one, two))).prepare()
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(_import_graph((one, two, three))).prepare()
