import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from legato.engine.errors import ConfigError
from legato.engine.models.shard_reader import CHUNK_BYTES, TensorRead, plan_chunks, read_tensors


def write(path: Path, *tensors: torch.Tensor, gap: int = 0) -> list[int]:
    """Writes the tensors with `gap` bytes before each, and returns their offsets."""
    offsets: list[int] = []
    data = b""
    for tensor in tensors:
        data += b"\xff" * gap
        offsets.append(len(data))
        data += tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    path.write_bytes(data)
    return offsets


def reads_of(path: Path, tensors: Sequence[torch.Tensor], gap: int = 0) -> list[TensorRead]:
    """Reads that fill new tensors with what `write` writes of these."""
    return [
        TensorRead(path, offset, tensor.dtype, torch.full_like(tensor, -1.0))
        for offset, tensor in zip(write(path, *tensors, gap=gap), tensors, strict=True)
    ]


def ignore(_done_bytes: int, _total_bytes: int) -> None:
    """Progress that nobody watches."""


def reader_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("weights")]


def test_chunks_are_neighbours_that_fit_a_slot(tmp_path: Path) -> None:
    reads = reads_of(tmp_path / "file", [torch.zeros(n) for n in (4, 4, 20, 1, 1)])
    chunks = list(plan_chunks(reversed(reads), chunk_bytes=32))
    # A part takes a multiple of 16 bytes of a slot.
    assert [[part.target.numel() for part in chunk] for chunk in chunks] == [
        [4, 4],
        [8],
        [8],
        [4, 1],
        [1],
    ]
    assert [chunk[0].offset for chunk in chunks] == [0, 32, 64, 96, 116]


def test_a_gap_ends_a_chunk_and_so_does_a_file(tmp_path: Path) -> None:
    apart = reads_of(tmp_path / "apart", [torch.zeros(2), torch.zeros(2)], gap=4)
    other = reads_of(tmp_path / "other", [torch.zeros(2)])
    assert [len(chunk) for chunk in plan_chunks(apart + other, chunk_bytes=1024)] == [1, 1, 1]


def test_many_tiny_tensors_take_several_calls(tmp_path: Path) -> None:
    tensors = [torch.tensor([float(n)]) for n in range(600)]
    reads = reads_of(tmp_path / "file", tensors)
    assert [len(chunk) for chunk in plan_chunks(reads, CHUNK_BYTES)] == [256, 256, 88]
    read_tensors(reads, ignore)
    assert [read.target.item() for read in reads] == list(range(600))


def test_tensors_longer_than_a_chunk_arrive_whole(tmp_path: Path) -> None:
    long = torch.arange(CHUNK_BYTES // 2 + 77, dtype=torch.int32).view(1, -1)
    tensors = [torch.ones(3, 5), long, torch.tensor(2.0, dtype=torch.float64), torch.zeros(0, 4)]
    reads = reads_of(tmp_path / "file", tensors, gap=1)
    read_tensors(reads, ignore)
    for read, tensor in zip(reads, tensors, strict=True):
        assert torch.equal(read.target, tensor)


def test_targets_of_another_type_are_converted(tmp_path: Path) -> None:
    stored = [torch.randn(7, 3), torch.randn(5).half(), torch.randn(9).bfloat16()]
    reads = [
        TensorRead(read.path, read.offset, read.dtype, read.target.bfloat16())
        for read in reads_of(tmp_path / "file", stored, gap=1)
    ]
    read_tensors(reads, ignore)
    for read, tensor in zip(reads, stored, strict=True):
        assert torch.equal(read.target, tensor.bfloat16())


def test_progress_counts_the_bytes_of_the_targets(tmp_path: Path) -> None:
    stored = [torch.zeros(CHUNK_BYTES // 4 + 1), torch.zeros(3)]
    reads = [
        TensorRead(read.path, read.offset, read.dtype, read.target.half())
        for read in reads_of(tmp_path / "file", stored)
    ]
    reports: list[tuple[int, int]] = []
    read_tensors(reads, lambda done, total: reports.append((done, total)))
    half, end = CHUNK_BYTES // 2, CHUNK_BYTES // 2 + 8
    assert reports == [(half, end), (end, end)]


def test_a_file_that_ends_early_is_named_and_leaves_no_thread(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    reads = reads_of(path, [torch.zeros(100), torch.zeros(100)])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="shard cannot be read: it ends before its last tensor"):
        read_tensors(reads, ignore)
    assert not reader_threads()


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    reads = reads_of(tmp_path / "shard", [torch.zeros(8)])
    (tmp_path / "shard").unlink()
    with pytest.raises(ConfigError, match=r"shard cannot be read: .*No such file"):
        read_tensors(reads, ignore)


def test_an_interrupt_ends_the_threads(tmp_path: Path) -> None:
    def interrupt(_done_bytes: int, _total_bytes: int) -> None:
        assert reader_threads()
        raise KeyboardInterrupt

    tensor = torch.zeros(3 * CHUNK_BYTES, dtype=torch.int8)
    with pytest.raises(KeyboardInterrupt):
        read_tensors(reads_of(tmp_path / "file", [tensor]), interrupt)
    assert not reader_threads()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_targets_on_the_gpu_are_filled(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = [torch.randn(30 << 20), torch.randn(7).bfloat16(), torch.randn(5, 3)]
    reads = [
        TensorRead(read.path, read.offset, read.dtype, read.target.to("cuda", dtype))
        for read in reads_of(tmp_path / "file", stored, gap=1)
    ]
    read_tensors(reads, ignore)
    for read, tensor in zip(reads, stored, strict=True):
        assert torch.equal(read.target.cpu(), tensor.to(dtype))
