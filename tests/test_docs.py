"""What the documents point at exists, and what they tell people to type is understood."""

import re
import tomllib
from pathlib import Path

import pytest

from legato.deployments.arguments import parse
from legato.deployments.config import AppConfig
from legato.engine.config import option_fields
from legato.tests.source_tree import PACKAGE_FOLDERS, REPOSITORY

DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    REPOSITORY / "k8s" / "README.md",
]
# Commands that have flags of their own.
OTHERS = ("pip install", "ray start", "ray get-auth-token")


def _flags(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    broken = [
        target
        for target in targets
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert not broken


def test_the_changelog_begins_with_this_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changelog, re.MULTILINE)[0] == project["version"]


def test_flags_in_the_readme_exist() -> None:
    names = [name.replace("_", "-") for name in option_fields(AppConfig)]
    known = {f"{dashes}{name}" for name in names for dashes in ("--", "--no-")} | {
        "--config",
        "--help",
        "--ray-address",
        "--version",
    }
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not any(map(line.__contains__, OTHERS))]
    assert _flags("\n".join(lines)) <= known


def test_the_commands_in_the_readme_are_understood() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^legato (serve [^#\n]*)", text, re.MULTILINE)
    assert commands
    for command in commands:
        if "--config" not in command:  # the file is the reader's
            parse(command.split(), {})


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"\bmake ([a-z]+)\b", text))
    assert {"serve", "test", "check", "bench"} <= targets
    assert targets <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def test_every_layer_is_described() -> None:
    text = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert not [folder for folder in PACKAGE_FOLDERS if f"{folder}/" not in text]
