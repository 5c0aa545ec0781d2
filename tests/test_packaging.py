"""What is in the wheel is what is in the repository, and it works without the repository."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from legato.tests.source_tree import PACKAGE_FOLDERS, REPOSITORY, modules

IMPORT_ALL = """
import importlib, json, sys
from importlib.metadata import entry_points, version
names = json.loads(sys.argv[1])
places = [importlib.import_module(name).__file__ for name in names]
from legato.deployments.openai.playground import Playground
from legato.engine.builtin_model import builtin_model_directory
pages = sorted(Playground.load().files)
files = sorted(path.name for path in builtin_model_directory().iterdir())
(command,) = entry_points(group="console_scripts", name="legato")
print(json.dumps([places, files, pages, version("legato-llm"), callable(command.load())]))
"""


def pyproject() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def run(*words: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no build folder is left in the repository or read from there."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in (*PACKAGE_FOLDERS, "tests"):
        shutil.copytree(
            REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "--wheel-dir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def _empty_environment(folder: Path) -> Path:
    """An environment without pip that finds this one's packages, but not its editable Legato."""
    venv.create(folder, symlinks=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    site_packages = Path(sysconfig.get_path("purelib", vars=paths))
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


def test_every_module_imports_from_the_wheel_and_from_another_folder(
    wheel: Path, tmp_path: Path
) -> None:
    python = _empty_environment(tmp_path / "environment")
    install: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
    ]
    run(*install, wheel, cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    names = [module.name for module in modules(*PACKAGE_FOLDERS)]
    output = run(python, "-c", IMPORT_ALL, json.dumps(names), cwd=elsewhere)
    places, model_files, pages, version, has_command = json.loads(output.splitlines()[-1])
    assert all(place.startswith(str(tmp_path)) for place in places)
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= set(model_files)
    assert {"/", "/playground/page.js", "/playground/page.css"} <= set(pages)
    assert version == pyproject()["project"]["version"]
    assert has_command


def test_the_list_of_packages_is_the_list_of_folders_with_modules() -> None:
    folders = {module.name.rpartition(".")[0] for module in modules(*PACKAGE_FOLDERS)}
    folders |= {f"legato.{name}" for name in PACKAGE_FOLDERS}
    listed = pyproject()["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(folders)


def test_every_package_says_that_it_is_typed() -> None:
    listed = pyproject()["tool"]["setuptools"]["packages"]
    folders = [REPOSITORY.joinpath(*name.split(".")[1:]) for name in listed]
    assert not [folder for folder in folders if not (folder / "py.typed").is_file()]


def test_no_folder_has_an_init_file() -> None:
    # A top-level kernels/__init__.py would shadow the package of that name which transformers uses.
    assert not [
        module.name for module in modules(*PACKAGE_FOLDERS) if module.path.stem == "__init__"
    ]


def test_every_dependency_is_pinned_within_its_range() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, version in pairs}
    project = pyproject()["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in (Requirement(text) for group in groups for text in group):
        pin = pins.get(canonicalize_name(requirement.name), "no pin")
        assert requirement.specifier.contains(pin), f"{requirement}: {pin}"
