"""Reads tensors out of files: several large reads at a time, each copied to the device as it ends.

    file    | header | q_proj                  | k_proj        | norm | up_proj        ...
    chunks           | 0        | 1        | 2 | 3             | 4    | 5        | 6   ...

    threads    each reads a chunk with one call, and starts to copy it to its targets
    caller     waits for chunk n, reports progress, hands out another

A chunk is a piece of a tensor or some neighbours, so that small ones do not cost a read each.
Tensors on the CPU of the type that is stored are read in place; the rest goes through staging.py.
Nothing is known of formats and models: a read is a place in a file and a tensor to fill.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch

from legato.engine.errors import ConfigError
from legato.engine.models.staging import Slot, Staging, staged_bytes

# Disks want long reads and several at a time; out of the page cache, a core copies some GB/s.
CHUNK_BYTES = 16 << 20
_NUM_THREADS = 8
_NUM_STARTED = _NUM_THREADS + 2  # so that no thread waits for the caller
_NUM_SLOTS = _NUM_STARTED + 2  # while two are being copied
_MAX_PARTS = 256  # of a chunk; a call takes 1024 buffers on Linux

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class TensorRead:
    """A tensor to fill, and where in a file its values lie."""

    path: Path
    offset: int  # bytes from the start of the file
    dtype: torch.dtype  # of the values in the file
    target: torch.Tensor  # contiguous; any device, any type

    @property
    def num_bytes(self) -> int:
        """Bytes in the file."""
        return self.target.numel() * self.dtype.itemsize


Chunk = tuple[TensorRead, ...]  # neighbours in one file; targets are flat


def read_tensors(reads: Sequence[TensorRead], on_progress: Callable[[int, int], None]) -> None:
    """Fills all targets, which must be on one device.

    Args:
        on_progress: told (bytes done, bytes in all), as they lie on the device, in this thread

    Raises:
        ConfigError: a file cannot be read, or ends before its tensors; targets are half filled.
    """
    total_bytes = sum(read.target.nbytes for read in reads)
    done_bytes = 0
    staging = Staging(reads[0].target.device, CHUNK_BYTES, _NUM_SLOTS)
    with closing(staging), _threads() as threads:
        chunks = plan_chunks(reads, CHUNK_BYTES)
        started = (_start(threads, chunk, staging.next_slot()) for chunk in chunks)
        for future, chunk in _ahead(started, _NUM_STARTED):
            future.result()
            done_bytes += sum(part.target.nbytes for part in chunk)
            on_progress(done_bytes, total_bytes)


def plan_chunks(reads: Iterable[TensorRead], chunk_bytes: int) -> Iterator[Chunk]:
    """The reads in the order of the files, cut and put together so that a chunk fits a slot."""
    parts: list[TensorRead] = []
    room = 0
    for part in _cut(reads, chunk_bytes):
        needed = staged_bytes(part.num_bytes)
        if parts and not (needed <= room and _follows(parts, part)):
            yield tuple(parts)
            parts = []
        room = (room if parts else chunk_bytes) - needed
        parts.append(part)
    if parts:
        yield tuple(parts)


def _cut(reads: Iterable[TensorRead], chunk_bytes: int) -> Iterator[TensorRead]:
    """The reads in the order of the files, none of them longer than a chunk or empty."""
    for read in sorted(reads, key=lambda read: (read.path, read.offset)):
        offset = read.offset
        for target in read.target.view(-1).split(chunk_bytes // read.dtype.itemsize):
            part = TensorRead(read.path, offset, read.dtype, target)
            offset += part.num_bytes
            if part.num_bytes:
                yield part


def _follows(parts: list[TensorRead], part: TensorRead) -> bool:
    last = parts[-1]
    end = (last.path, last.offset + last.num_bytes)
    return (part.path, part.offset) == end and len(parts) < _MAX_PARTS


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that are gone at the end, with what they have not begun."""
    threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="weights")
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


def _start(threads: ThreadPoolExecutor, chunk: Chunk, slot: Slot) -> tuple[Future[None], Chunk]:
    return threads.submit(_bring, chunk, slot), chunk


def _bring(chunk: Chunk, slot: Slot) -> None:
    """Reads the chunk and starts its copies."""
    places = [slot.place(part.target, part.dtype) for part in chunk]
    buffers = [place.view(torch.uint8).numpy().data for place in places]
    _read_range(chunk[0].path, chunk[0].offset, buffers)
    slot.copy_out()


def _ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """The same items; each is taken while the `count` - 1 before it have not been handed out."""
    taken = deque(islice(items, count))
    while taken:
        yield taken.popleft()
        taken.extend(islice(items, 1))


def _read_range(path: Path, offset: int, buffers: list[memoryview]) -> None:
    """Fills the buffers one after the other from there on."""
    try:
        with path.open("rb", buffering=0) as file:
            num_bytes = sum(map(len, buffers))
            with suppress(OSError):  # without it a cold disk sees many short requests
                os.posix_fadvise(file.fileno(), offset, num_bytes, os.POSIX_FADV_WILLNEED)
            _fill(file.fileno(), offset, buffers)
    except (OSError, EOFError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _fill(descriptor: int, offset: int, buffers: list[memoryview]) -> None:
    """One call, or more where the system hands over less than was asked for."""
    while buffers:
        num_read = os.preadv(descriptor, buffers, offset)
        if num_read == 0:
            raise EOFError("it ends before its last tensor")
        offset += num_read
        while buffers and num_read >= len(buffers[0]):
            num_read -= len(buffers.pop(0))
        if buffers:
            buffers[0] = buffers[0][num_read:]
