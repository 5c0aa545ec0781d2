"""How fast weights come onto the device, beside a plain read of the same files.

A random checkpoint of Llama-8B's layers, as many as the size asks for, is written to a directory of
its own and removed at the end. After each load, every parameter's sum is compared with what was
written. "Not cached" reads what the system was asked to drop before; a file system in memory, or a
host that caches for a virtual machine, keeps it.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from operator import attrgetter
from pathlib import Path

import torch
from safetensors.torch import save_file

from legato.engine.models.checkpoint import INDEX_FILE
from legato.engine.models.decoder_weights import DecoderWeights
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.parameter import SourceTensor
from legato.engine.models.parameters import decoder_parameters
from legato.engine.models.weights import Placement, dummy_weights, load_weights
from legato.engine.torch_dtypes import TORCH_DTYPES
from legato.tests.benchmarks.report import Row, show

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 16384,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
LAYER_ELEMENTS = 218_112_000
# Every tensor is a window of one table of random numbers, which is quicker than new ones.
TABLE_ELEMENTS = 80_000_000
PLAIN_READ_BYTES = 16 << 20

_OF_LAYER = re.compile(r"layers\.(\d+)\.(.+)")

Sums = dict[str, int]  # parameter -> sum of its values' bits


@dataclass(frozen=True, slots=True)
class RandomCheckpoint:
    """A checkpoint on disk and what loading it has to give."""

    directory: Path
    config: ModelConfig
    num_bytes: int
    sums: Sums

    @property
    def shards(self) -> list[Path]:
        return sorted(self.directory.glob("*.safetensors"))


def write_checkpoint(
    directory: Path, size_gb: float, stored: torch.dtype, loaded: torch.dtype
) -> RandomCheckpoint:
    """One shard a layer, and one for the rest.

    Args:
        stored: the type in the files
        loaded: the type whose sums are kept
    """
    num_layers = max(1, round(size_gb * 1e9 / (LAYER_ELEMENTS * stored.itemsize)))
    (directory / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": num_layers}))
    config = ModelConfig.load(directory)
    table = torch.rand(TABLE_ELEMENTS, generator=torch.Generator().manual_seed(0)).to(stored)
    sums: Sums = {}
    shards: dict[str, dict[str, torch.Tensor]] = {}
    numbers = count()
    for parameter in decoder_parameters(config):
        sums[parameter.name] = 0
        layer = _OF_LAYER.fullmatch(parameter.name)
        shard = shards.setdefault(f"{layer[1] if layer else 'rest'}.safetensors", {})
        for source in parameter.sources:
            shard[source.name] = _window(table, source, next(numbers))
            sums[parameter.name] += _bit_sum(shard[source.name].to(loaded))
    num_bytes = _save(directory, shards)
    return RandomCheckpoint(directory, config, num_bytes, sums)


def _window(table: torch.Tensor, source: SourceTensor, number: int) -> torch.Tensor:
    num_elements = torch.Size(source.shape).numel()
    start = (number * 7919) % (len(table) - num_elements)
    return table[start : start + num_elements].view(source.shape)


def _save(directory: Path, shards: dict[str, dict[str, torch.Tensor]]) -> int:
    """Writes the shards and their index; returns the bytes of all tensors."""
    for file, tensors in shards.items():
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, directory / file)
    weight_map = {name: file for file, tensors in shards.items() for name in tensors}
    (directory / INDEX_FILE).write_text(json.dumps({"weight_map": weight_map}))
    return sum(tensor.nbytes for tensors in shards.values() for tensor in tensors.values())


def _bit_sum(tensor: torch.Tensor) -> int:
    bits = {2: torch.int16, 4: torch.int32}[tensor.dtype.itemsize]
    return int(tensor.view(bits).sum(dtype=torch.int64))


def check(weights: DecoderWeights, sums: Sums) -> None:
    """Raises RuntimeError if a parameter does not hold what was written."""
    for name, wanted in sums.items():
        layer = _OF_LAYER.fullmatch(name)
        tensor = (
            attrgetter(layer[2])(weights.layers[int(layer[1])]) if layer else getattr(weights, name)
        )
        if _bit_sum(tensor) != wanted:
            raise RuntimeError(f"{name} does not hold what was written")


def drop_from_cache(paths: list[Path]) -> None:
    """Asks the system to forget what it holds of the files."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())  # only what is on the disk can be dropped
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_plainly(paths: list[Path]) -> None:
    """One thread, one buffer, one file after the other."""
    buffer = bytearray(PLAIN_READ_BYTES)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def gb_per_s(num_bytes: int, work: Callable[[], object]) -> float:
    """How fast `work` gets `num_bytes` done."""
    started = time.perf_counter()
    work()
    return num_bytes / 1e9 / (time.perf_counter() - started)


def load_speed(checkpoint: RandomCheckpoint, placement: Placement) -> float:
    """GB/s of one load, which is checked."""
    loaded: list[DecoderWeights] = []

    def load() -> None:
        directory, config = checkpoint.directory, checkpoint.config
        loaded.append(load_weights(directory, config, placement, lambda *_: None))

    speed = gb_per_s(checkpoint.num_bytes, load)
    check(loaded[0], checkpoint.sums)
    return speed


def measure(checkpoint: RandomCheckpoint, placement: Placement, runs: int) -> list[Row]:
    """The table for the device of `placement`."""
    paths, num_bytes = checkpoint.shards, checkpoint.num_bytes
    drop_from_cache(paths)
    cold_plain = gb_per_s(num_bytes, lambda: read_plainly(paths))
    drop_from_cache(paths)
    cold = load_speed(checkpoint, placement)
    plain = max(gb_per_s(num_bytes, lambda: read_plainly(paths)) for _ in range(runs))
    cached = max(load_speed(checkpoint, placement) for _ in range(runs))
    on_gpu = placement.device.type == "cuda"
    must, aim = (8, 10) if on_gpu else (None, None)
    rows = [
        Row("load_weights, not cached", cold, "GB/s"),
        Row("plain read, not cached", cold_plain, "GB/s"),
        Row("load_weights, cached, best", cached, "GB/s", must, aim),
        Row("plain read, cached, best", plain, "GB/s"),
    ]
    if on_gpu:  # takes minutes on a CPU
        seconds = dummy_seconds(checkpoint.config, placement)
        rows.append(Row("dummy_weights of the same shapes", seconds, "s", 2, None, False))
    return rows


def dummy_seconds(config: ModelConfig, placement: Placement) -> float:
    """How long random weights of these shapes take on a GPU."""
    started = time.perf_counter()
    dummy_weights(config, placement, seed=0)
    torch.cuda.synchronize(placement.device)
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size-gb", type=float, default=2.0, help="of the files, roughly")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--stored-dtype", choices=TORCH_DTYPES, default="bfloat16")
    parser.add_argument("--dtype", choices=TORCH_DTYPES, default="bfloat16")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="on the disk to measure; default: /tmp")
    args = parser.parse_args()
    placement = Placement(TORCH_DTYPES[args.dtype], torch.device(args.device))
    torch.zeros(1, device=placement.device)  # a GPU's context is no part of loading
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
        stored = TORCH_DTYPES[args.stored_dtype]
        checkpoint = write_checkpoint(Path(directory), args.size_gb, stored, placement.dtype)
        rows = measure(checkpoint, placement, args.runs)
    title = f"Weights to {args.device}: {checkpoint.num_bytes / 1e9:.2f} GB of {args.stored_dtype}"
    return 0 if show(f"{title}, loaded as {args.dtype}", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
