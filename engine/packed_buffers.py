"""Many small arrays that go to a device in one copy.

    host           | query_starts | context_lens | temperatures | ...      one range of bytes
                          |  one copy
    device         | query_starts | context_lens | temperatures | ...      the same, as tensors

Steps change most of these arrays together, and one copy costs what each of them would alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_ALIGNMENT_BYTES = 16  # of every array: kernels load that much at a time
_NUM_STAGES = 3  # uploads that may be on their way at a time before the host waits


@dataclass(frozen=True, slots=True)
class Field:
    """One array: its element type, as numpy names it, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * prod(self.shape)


class PackedBuffers:
    """Arrays on the host (`host`), and tensors of the same shapes on the device (`device`)."""

    def __init__(self, fields: Mapping[str, Field], device: torch.device) -> None:
        sizes = [-(-f.num_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES for f in fields.values()]
        offsets = dict(zip(fields, accumulate(sizes, initial=0), strict=False))
        self._host_bytes = torch.zeros(sum(sizes), dtype=torch.uint8)
        self._device_bytes = torch.zeros(sum(sizes), dtype=torch.uint8, device=device)
        self._stages = [
            (torch.empty_like(self._host_bytes, pin_memory=True), torch.cuda.Event())
            for _ in range(_NUM_STAGES if device.type == "cuda" else 0)
        ]
        self._next_stage = 0
        self.host: dict[str, NDArray[Any]] = {
            name: self._part(self._host_bytes, offsets[name], field).numpy()
            for name, field in fields.items()
        }
        self.device: dict[str, torch.Tensor] = {
            name: self._part(self._device_bytes, offsets[name], field)
            for name, field in fields.items()
        }

    @staticmethod
    def _part(buffer: torch.Tensor, offset: int, field: Field) -> torch.Tensor:
        dtype = torch.from_numpy(np.empty(0, field.dtype)).dtype
        return buffer[offset : offset + field.num_bytes].view(dtype).view(field.shape)

    def upload(self) -> None:
        """Copies all arrays to the device, in the order of its stream; the host may go on writing.

        A copy reads its source later, so the host's arrays are first copied to a stage: memory
        that is not written again before the device has read it.
        """
        if not self._stages:
            self._device_bytes.copy_(self._host_bytes)
            return
        stage, was_read = self._stages[self._next_stage]
        self._next_stage = (self._next_stage + 1) % len(self._stages)
        was_read.synchronize()
        stage.copy_(self._host_bytes)
        self._device_bytes.copy_(stage, non_blocking=True)
        was_read.record()
