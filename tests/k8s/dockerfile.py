"""The Dockerfile as its tests see it: instructions with their words, and what COPY would take.

It reads the part of the language that k8s/Dockerfile uses, and runs nothing.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from legato.tests.source_tree import REPOSITORY

DOCKERFILE = REPOSITORY / "k8s" / "Dockerfile"
IGNORED = REPOSITORY / ".dockerignore"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line, after those that a backslash continues have been joined."""

    name: str
    value: str
    stage: int  # 0: before the first FROM

    def words(self) -> list[str]:
        """The words of the form that is a JSON list."""
        words: list[str] = json.loads(self.value)
        return words


def read_instructions() -> list[Instruction]:
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    found: list[Instruction] = []
    stage = 0
    for line in text.replace("\\\n", " ").splitlines():
        name, _, value = line.strip().partition(" ")
        if name:
            stage += name == "FROM"
            found.append(Instruction(name, " ".join(value.split()), stage))
    return found


def values(name: str) -> list[str]:
    """What stands behind each instruction of this name."""
    return [one.value for one in read_instructions() if one.name == name]


def arguments() -> dict[str, str]:
    """Build arguments and their defaults."""
    return dict(value.split("=", 1) for value in values("ARG"))


def context_names() -> list[str]:
    """The entries of the repository's root that .dockerignore lets through."""
    lines = IGNORED.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def copy_context(folder: Path) -> None:
    """What `COPY . folder` copies."""
    folder.mkdir(parents=True)
    for name in context_names():
        source = REPOSITORY / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder)
