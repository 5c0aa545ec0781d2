"""Runs the Dockerfile's steps without a container engine, and the server that they install.

    python -m legato.tests.k8s.image_steps [FOLDER] [NAME=VALUE ...]    build arguments

The file system's root is FOLDER, new and empty: every path that the steps name is moved there.
Left out is what belongs to a system alone, apt-get and chown; so the Python is this machine's. It
takes minutes and a package index, and is no test for that reason.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from legato.tests.deployments.server import free_port
from legato.tests.k8s.dockerfile import Instruction, arguments, copy_context, read_instructions

PLACES = re.compile(r"(?<![\w.}])/(opt|wheels|source|home|cache)\b")
START_TIMEOUT_S = 120.0


class Image:
    """A folder that stands for the image's root."""

    def __init__(self, root: Path, build_arguments: dict[str, str]) -> None:
        self._root = root
        self._arguments = arguments() | build_arguments
        # pip's own settings are the machine's: where its index is.
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        self._environment = {"PATH": os.environ["PATH"], **kept}

    def build(self) -> None:
        for instruction in read_instructions():
            if instruction.name == "RUN":
                self._run(self._moved(instruction.value))
            elif instruction.name == "COPY":
                self._copy(instruction)
            elif instruction.name == "ENV":
                self._set(instruction.value)

    def entrypoint(self) -> list[str]:
        (found,) = [one for one in read_instructions() if one.name == "ENTRYPOINT"]
        name, *words = found.words()
        return [str(self._root / "opt/legato/bin" / name), *words]

    @property
    def environment(self) -> dict[str, str]:
        return self._environment

    def _moved(self, text: str) -> str:
        return PLACES.sub(lambda match: f"{self._root}/{match[1]}", text)

    def _run(self, command: str) -> None:
        if command.startswith("apt-get"):
            return
        command = command.partition(" && chown")[0]
        print("RUN", command, flush=True)
        environment = self._environment | self._arguments
        subprocess.run(["/bin/sh", "-euc", command], env=environment, check=True)

    def _copy(self, instruction: Instruction) -> None:
        source, target = instruction.value.removeprefix("--from=wheel ").split()
        place = Path(self._moved(target))
        print("COPY", source, place, flush=True)
        if source == ".":
            copy_context(place)
        elif source.startswith("/"):
            shutil.copytree(self._moved(source), place)
        else:
            shutil.copy(source, place)

    def _set(self, value: str) -> None:
        for pair in value.split():
            name, _, text = pair.partition("=")
            self._environment[name] = self._moved(text).replace(
                "${PATH}", self._environment["PATH"]
            )


def check_server(image: Image) -> None:
    """Starts the entry point and waits until it is ready.

    Raises:
        RuntimeError: it ended, or was not ready in time.
    """
    port = free_port()
    words = [*image.entrypoint(), "--port", str(port), "--host", "127.0.0.1"]
    process = subprocess.Popen(words, env=image.environment)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _is_ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server that was installed does not become ready")
            time.sleep(0.2)
        print("ready", flush=True)
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def main() -> None:
    pairs = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    folders = [word for word in sys.argv[1:] if "=" not in word]
    with tempfile.TemporaryDirectory() as fresh:
        image = Image(Path(folders[0] if folders else fresh), pairs)
        image.build()
        check_server(image)


if __name__ == "__main__":
    main()
