"""Brings a checkpoint's tensors onto the device.

Names, shapes and types of all tensors are checked before a byte of them is read or any memory
taken, so that a wrong or truncated checkpoint ends in one line at once. How bytes travel is
shard_reader.py's.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from legato.engine.errors import ConfigError
from legato.engine.models.checkpoint import (
    StoredTensor,
    find_stored,
    listed,
    locate_tensors,
    read_header,
)
from legato.engine.models.conversion import convert, scale_
from legato.engine.models.decoder_weights import DecoderWeights, assemble
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.moe_parameters import expert_layout
from legato.engine.models.parameter import Parameter, SourceTensor
from legato.engine.models.parameters import decoder_parameters
from legato.engine.models.quantization import ScaleBlock
from legato.engine.models.rope import inverse_frequencies
from legato.engine.models.shard_reader import TensorRead, read_tensors

OnProgress = Callable[[int, int], None]  # bytes done, bytes in all; as they lie on the device

_DUMMY_STD = 0.02
# Integers and 8-bit floats mean nothing without scales, which lie in tensors of their own.
_NUMBERS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
_BYTES, _SCALED = "U8", "F8_E4M3"
_STORED_DTYPES = _NUMBERS | {_BYTES: torch.uint8, _SCALED: torch.float8_e4m3fn}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where weights go, and as what."""

    dtype: torch.dtype
    device: torch.device


def load_weights(
    directory: Path, config: ModelConfig, placement: Placement, on_progress: OnProgress
) -> DecoderWeights:
    """Reads the checkpoint in `directory`.

    Raises:
        ConfigError: a file is missing or broken, or tensors are missing, unexpected, of the wrong
            shape or of a type that is not served.
    """
    shards = locate_tensors(directory, config)
    parameters = decoder_parameters(config, expert_layout(shards))
    sources = [source for parameter in parameters for source in parameter.sources]
    stored = _find_stored(directory, sources, shards, config.scale_block is not None)
    scales = _scales(sources, stored, config.scale_block)
    stored |= _find_stored(directory, list(scales.values()), shards)
    tensors = {p.name: _empty(p, placement) for p in parameters}
    files = _Files(shards, stored)
    _read(parameters, tensors, files, on_progress)
    if config.scale_block is not None:
        _scale_(dict(_targets(_joined(parameters), tensors)), scales, files, config.scale_block)
    for parameter in parameters:
        if parameter.offset:
            tensors[parameter.name].add_(parameter.offset)
    return _assemble(tensors, config, placement)


def dummy_weights(config: ModelConfig, placement: Placement, seed: int) -> DecoderWeights:
    """Random weights of the right shapes, the same for the same seed; norms are ones."""
    generator = torch.Generator(placement.device).manual_seed(seed)
    tensors = {}
    for parameter in decoder_parameters(config):
        tensor = _empty(parameter, placement)
        if parameter.name.endswith("norm"):
            tensors[parameter.name] = tensor.fill_(1.0)
        else:
            tensors[parameter.name] = tensor.normal_(0.0, _DUMMY_STD, generator=generator)
    return _assemble(tensors, config, placement)


def _empty(parameter: Parameter, placement: Placement) -> torch.Tensor:
    dtype = torch.float32 if parameter.is_float32 else placement.dtype
    return torch.empty(parameter.shape, dtype=dtype, device=placement.device)


def _assemble(
    tensors: dict[str, torch.Tensor], config: ModelConfig, placement: Placement
) -> DecoderWeights:
    frequencies = (inverse_frequencies(rope, config.rotated_dim) for rope in config.ropes)
    return assemble(tensors, config, tuple(f.to(placement.device) for f in frequencies))


@dataclass(frozen=True, slots=True)
class _Files:
    """Where each source is, and how it is stored."""

    shards: Mapping[str, Path]
    stored: Mapping[str, StoredTensor]

    def dtype(self, name: str) -> torch.dtype:
        return _STORED_DTYPES[self.stored[name].dtype]

    def read_into(self, name: str, target: torch.Tensor) -> TensorRead:
        return TensorRead(self.shards[name], self.stored[name].offset, self.dtype(name), target)


def _read(
    parameters: list[Parameter],
    tensors: Mapping[str, torch.Tensor],
    files: _Files,
    on_progress: OnProgress,
) -> None:
    """Fills the tensors; what must be converted is read parameter by parameter, as it is stored."""
    targets = _targets(_joined(parameters), tensors)
    reads = [files.read_into(name, target) for name, target in targets]
    done_bytes = sum(read.target.nbytes for read in reads)
    converted = [parameter for parameter in parameters if parameter.conversion is not None]
    total_bytes = done_bytes + sum(tensors[parameter.name].nbytes for parameter in converted)
    read_tensors(reads, lambda done, _: on_progress(done, total_bytes))
    for parameter in converted:
        assert parameter.conversion is not None
        target = tensors[parameter.name]
        stored = [
            torch.empty(source.shape, dtype=files.dtype(source.name), device=target.device)
            for source in parameter.sources
        ]
        names = [source.name for source in parameter.sources]
        read_tensors([files.read_into(*pair) for pair in zip(names, stored, strict=True)], _ignore)
        convert(stored, parameter.conversion, target)
        done_bytes += target.nbytes
        on_progress(done_bytes, total_bytes)


def _joined(parameters: list[Parameter]) -> list[Parameter]:
    """Those whose sources are their rows as they are."""
    return [parameter for parameter in parameters if parameter.conversion is None]


def _ignore(done_bytes: int, total_bytes: int) -> None:
    """Parts of what is going to be converted are no progress yet."""


def _targets(
    parameters: list[Parameter], tensors: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    """The name of every source, and the rows of its parameter that it fills."""
    for parameter in parameters:
        joined = tensors[parameter.name].view(-1, *parameter.sources[0].shape[1:])
        parts = torch.split(joined, [source.shape[0] for source in parameter.sources])
        for source, rows in zip(parameter.sources, parts, strict=True):
            yield source.name, rows


def _scales(
    sources: list[SourceTensor], stored: Mapping[str, StoredTensor], block: ScaleBlock | None
) -> dict[str, SourceTensor]:
    """Name of a matrix of 8 bits -> its scales."""
    if block is None:
        return {}
    return {s.name: block.scales_of(s) for s in sources if stored[s.name].dtype == _SCALED}


def _scale_(
    matrices: Mapping[str, torch.Tensor],
    scales: Mapping[str, SourceTensor],
    files: _Files,
    block: ScaleBlock,
) -> None:
    """Multiplies what has been read in 8 bits with its scales, in place."""
    values = {
        name: torch.empty(source.shape, dtype=torch.float32, device=matrices[name].device)
        for name, source in scales.items()
    }
    if values:
        reads = [files.read_into(scales[name].name, target) for name, target in values.items()]
        read_tensors(reads, _ignore)
    for name, target in values.items():
        scale_(matrices[name], target, block)


def _find_stored(
    directory: Path,
    sources: list[SourceTensor],
    shards: dict[str, Path],
    may_be_scaled: bool = False,
) -> dict[str, StoredTensor]:
    """Source name -> what its shard holds of it, which can fill it."""
    if absent := sorted(source.name for source in sources if source.name not in shards):
        raise ConfigError(f"{directory}: {listed(absent)} missing from the weights")
    headers = {path: read_header(path) for path in {shards[source.name] for source in sources}}
    found = {
        source.name: find_stored(headers[shards[source.name]], source.name) for source in sources
    }
    stored = {name: tensor for name, tensor in found.items() if tensor is not None}
    if missing := sorted(found.keys() - stored.keys()):
        raise ConfigError(f"{directory}: {listed(missing)} missing from its shard")
    for source in sources:
        is_matrix = may_be_scaled and len(source.shape) == 2
        _check_fits(shards[source.name], source, stored[source.name], is_matrix)
    return stored


def _check_fits(
    path: Path, source: SourceTensor, stored: StoredTensor, may_be_scaled: bool
) -> None:
    if stored.shape != source.shape:
        raise ConfigError(
            f"{path}: {source.name} has shape {list(stored.shape)}, but config.json asks for"
            f" {list(source.shape)}"
        )
    allowed = [_BYTES] if source.is_bytes else [*_NUMBERS, *([_SCALED] if may_be_scaled else [])]
    if stored.dtype not in allowed:
        raise ConfigError(
            f"{path}: {source.name} is stored as {stored.dtype}, but only"
            f" {', '.join(allowed)} can be loaded"
        )
