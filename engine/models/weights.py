"""Brings a checkpoint's tensors onto the device: safetensors only, never pickled files.

Names and shapes are checked against what the config promises before a byte is read, so that a
wrong or truncated checkpoint ends in one line at once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from legato.engine.errors import ConfigError
from legato.engine.models.json_file import JsonFile
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.parameters import (
    DecoderWeights,
    Parameter,
    assemble,
    decoder_parameters,
)
from legato.engine.models.rope import inverse_frequencies

OnProgress = Callable[[int, int], None]  # bytes done, bytes in all; as they lie on the device

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_DUMMY_STD = 0.02


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
        ConfigError: a file is missing or broken, or tensors are missing, unexpected or of the
            wrong shape.
    """
    parameters = decoder_parameters(config)
    shards = _find_shards(directory)
    _check_names(directory, config, parameters, shards)
    tensors = {p.name: _empty(p.shape, placement) for p in parameters}
    total = sum(tensor.nbytes for tensor in tensors.values())
    targets = _targets(parameters, tensors)
    done = 0
    for path in sorted(set(shards.values())):
        with _open(path) as shard:
            for name in shard.keys():  # noqa: SIM118 - a safetensors handle is no mapping
                if (target := targets.pop(name, None)) is not None:
                    _check_shape(path, name, tuple(shard.get_slice(name).get_shape()), target)
                    target.copy_(shard.get_tensor(name))
                    done += target.nbytes
                    on_progress(done, total)
    if targets:
        raise ConfigError(f"{directory}: {_listed(sorted(targets))} missing from its shard")
    return _assemble(tensors, config, placement)


def check_checkpoint(directory: Path, config: ModelConfig) -> None:
    """Checks that the checkpoint has the tensors that its config promises; reads no weights.

    Raises:
        ConfigError: files or tensors are missing, broken or unexpected.
    """
    _check_names(directory, config, decoder_parameters(config), _find_shards(directory))


def dummy_weights(config: ModelConfig, placement: Placement, seed: int) -> DecoderWeights:
    """Random weights of the right shapes, the same for the same seed; norms are ones."""
    generator = torch.Generator(placement.device).manual_seed(seed)
    tensors = {}
    for parameter in decoder_parameters(config):
        tensor = _empty(parameter.shape, placement)
        if parameter.name.endswith("norm"):
            tensors[parameter.name] = tensor.fill_(1.0)
        else:
            tensors[parameter.name] = tensor.normal_(0.0, _DUMMY_STD, generator=generator)
    return _assemble(tensors, config, placement)


def _empty(shape: tuple[int, ...], placement: Placement) -> torch.Tensor:
    return torch.empty(shape, dtype=placement.dtype, device=placement.device)


def _assemble(
    tensors: dict[str, torch.Tensor], config: ModelConfig, placement: Placement
) -> DecoderWeights:
    frequencies = inverse_frequencies(config.rope, config.head_dim).to(placement.device)
    return assemble(tensors, config, frequencies)


def _find_shards(directory: Path) -> dict[str, Path]:
    """Tensor name -> the file that holds it."""
    index_path, single_path = directory / INDEX_FILE, directory / SINGLE_FILE
    if index_path.exists():
        weight_map = JsonFile.read(index_path).get("weight_map", dict)
        shards = {str(name): directory / str(file) for name, file in weight_map.items()}
        for path in sorted(set(shards.values())):
            if not path.is_file() or path.parent != directory:
                raise ConfigError(f"{path} is missing, but {index_path} names it")
        return shards
    if not single_path.is_file():
        raise ConfigError(f"{directory} holds no weights: neither {SINGLE_FILE} nor {INDEX_FILE}")
    with _open(single_path) as file:
        return dict.fromkeys(file.keys(), single_path)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _check_names(
    directory: Path, config: ModelConfig, parameters: list[Parameter], shards: dict[str, Path]
) -> None:
    expected = {source.name for parameter in parameters for source in parameter.sources}
    if missing := sorted(expected - shards.keys()):
        raise ConfigError(f"{directory}: {_listed(missing)} missing from the weights")
    # Some exporters store a tied head again, and old ones the rope table.
    unexpected = [n for n in sorted(shards.keys() - expected) if not n.endswith(".inv_freq")]
    if config.has_tied_embeddings and "lm_head.weight" in unexpected:
        unexpected.remove("lm_head.weight")
    if unexpected:
        raise ConfigError(
            f"{directory}: {_listed(unexpected)} in the weights, but not in a {config.architecture}"
            " of this config.json"
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def _targets(
    parameters: list[Parameter], tensors: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Source name -> the rows of its parameter that it fills."""
    targets = {}
    for parameter in parameters:
        sizes = [source.shape[0] for source in parameter.sources]
        parts = torch.split(tensors[parameter.name], sizes)
        for source, rows in zip(parameter.sources, parts, strict=True):
            targets[source.name] = rows
    return targets


def _check_shape(path: Path, name: str, shape: tuple[int, ...], target: torch.Tensor) -> None:
    if shape != tuple(target.shape):
        raise ConfigError(
            f"{path}: {name} has shape {list(shape)}, but config.json asks for {list(target.shape)}"
        )
