"""Buffers on the host between a file and its tensors, which take turns.

    slot    free --place--> being read into --copy_out--> being copied --reset--> free

On a GPU the buffers are pinned and copies run on a stream of their own, while the next slots are
read into. Types are converted where the target is. What fills the slots is the caller's business.
"""

from collections import deque

import torch

_ALIGNMENT_BYTES = 16
# Fewer than torch shares among threads of its own, which would get in the way of the caller's.
_SERIAL_ELEMENTS = 32_000


def staged_bytes(num_bytes: int) -> int:
    """How much of a slot a tensor of this size takes."""
    return -(-num_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


class Slot:
    """One buffer, for one thread at a time.

    Without a stream copies are done when `copy_out` returns.
    """

    def __init__(self, num_bytes: int, stream: torch.cuda.Stream | None) -> None:
        self._bytes = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=stream is not None)
        self._num_used = 0
        self._staged: list[tuple[torch.Tensor, torch.Tensor]] = []  # target, what is copied there
        self._stream = stream
        self._copied = torch.cuda.Event(blocking=True) if stream is not None else None

    def place(self, target: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Where values that `copy_out` is to bring to `target` have to be written.

        Args:
            target: contiguous and flat
            dtype: of the values that will be written

        Returns:
            a contiguous tensor on the CPU, as long as the target: the target itself if nothing
            speaks against it, a piece of this buffer otherwise
        """
        if target.device.type == "cpu" and target.dtype == dtype:
            return target
        num_bytes = target.numel() * dtype.itemsize
        staged = self._bytes[self._num_used :][:num_bytes].view(dtype)
        self._num_used += staged_bytes(num_bytes)
        self._staged.append((target, staged))
        return staged

    def copy_out(self) -> None:
        """Copies what has been written to its targets; on a stream, starts to."""
        if self._copied is None:
            for target, staged in self._staged:
                _copy_serially(target, staged)
            return
        with torch.cuda.stream(self._stream):
            for target, staged in self._staged:
                # A copy between types would convert here first; over there it takes no time.
                if staged.dtype != target.dtype:
                    staged = staged.to(target.device, non_blocking=True)
                target.copy_(staged, non_blocking=True)
        self._copied.record(self._stream)

    def reset(self) -> None:
        """Waits until nothing is copied any more, and forgets what was placed."""
        if self._copied is not None:
            self._copied.synchronize()
        self._staged.clear()
        self._num_used = 0


def _copy_serially(target: torch.Tensor, staged: torch.Tensor) -> None:
    pieces = (target.split(_SERIAL_ELEMENTS), staged.split(_SERIAL_ELEMENTS))
    for target_piece, staged_piece in zip(*pieces, strict=True):
        target_piece.copy_(staged_piece)


class Staging:
    """The slots; each is made when it is first needed, because pinning takes time."""

    def __init__(self, device: torch.device, slot_bytes: int, num_slots: int) -> None:
        self._slot_bytes = slot_bytes
        self._num_slots = num_slots
        self._slots: deque[Slot] = deque()  # the one that was handed out last is last
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            # Targets may lie where earlier work of the caller is still being done.
            self._stream.wait_stream(torch.cuda.current_stream(device))

    def next_slot(self) -> Slot:
        """A free slot; waits for the copies of the oldest one if all were handed out."""
        if len(self._slots) < self._num_slots:
            self._slots.append(Slot(self._slot_bytes, self._stream))
        else:
            self._slots.rotate(-1)
            self._slots[-1].reset()
        return self._slots[-1]

    def close(self) -> None:
        """Waits until all copies are done, so that targets can be used, or freed."""
        if self._stream is not None:
            self._stream.synchronize()
