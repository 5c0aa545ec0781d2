"""The repository as its guards see it: folders, modules and imports, read without running them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE_FOLDERS = ("kernels", "engine", "cluster", "deployments")
# Where processes that tests start find what tests share, as pytest itself does.
SHARED_PATH = str(REPOSITORY / ".types")
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Module:
    name: str  # as imported: legato.engine.config
    path: Path
    source: str = field(repr=False)
    tree: ast.Module = field(repr=False)

    @property
    def layer(self) -> str:
        """The top-level folder that the module lies in."""
        return self.name.split(".")[1]

    @property
    def num_lines(self) -> int:
        return self.source.count("\n")

    def where(self, node: ast.stmt | ast.expr) -> str:
        return f"{self.path.relative_to(REPOSITORY)}:{node.lineno}"

    def functions(self) -> Iterator[FunctionNode]:
        for node in ast.walk(self.tree):
            if isinstance(node, FunctionNode):
                yield node


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    """All modules in the repository's `folders`, sub-folders included."""
    paths = [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    return tuple(_read(path) for path in paths)


def _read(path: Path) -> Module:
    name = ".".join(("legato", *path.relative_to(REPOSITORY).with_suffix("").parts))
    source = path.read_text(encoding="utf-8")
    return Module(name, path, source, ast.parse(source, str(path)))


def imported_names(node: ast.stmt) -> list[str]:
    """What an import statement imports, as dotted names: `from a.b import C` gives a.b.C."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
    return []


def imports(module: Module) -> Iterator[tuple[ast.stmt, str]]:
    """Every import in the module, wherever it stands, with its dotted name."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in imported_names(node):
                yield node, name


def belongs_to(name: str, package: str) -> bool:
    """Whether a dotted name is the package or lies in it."""
    return name == package or name.startswith(package + ".")
