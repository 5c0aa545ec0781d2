"""The test's end of a process that owns a pool: it shows its descriptor, then rows on demand."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from legato.cluster.transfer.transport import PoolDescriptor


class PoolOwner:
    """A process that owns a pool of [6, 2, 4] float32."""

    def __init__(self, script: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.descriptor = msgspec.json.decode(self._read_line(), type=PoolDescriptor)

    def _read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def rows(self) -> Tensor:
        self.tell("show")
        return torch.tensor(json.loads(self._read_line())).view(6, 2, 4)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()
