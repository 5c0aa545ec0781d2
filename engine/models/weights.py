"""Brings a checkpoint's tensors onto the device.

Names are checked before a byte is read (checkpoint.py), each shape before its tensor is, so that
a wrong or truncated checkpoint ends in one line at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from legato.engine.errors import ConfigError
from legato.engine.models.checkpoint import listed, locate_tensors, open_shard
from legato.engine.models.decoder_weights import DecoderWeights, assemble
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.parameters import Parameter, decoder_parameters
from legato.engine.models.rope import inverse_frequencies

OnProgress = Callable[[int, int], None]  # bytes done, bytes in all; as they lie on the device

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
    shards = locate_tensors(directory, config)
    tensors = {p.name: _empty(p.shape, placement) for p in parameters}
    total = sum(tensor.nbytes for tensor in tensors.values())
    targets = _targets(parameters, tensors)
    done = 0
    for path in sorted(set(shards.values())):
        with open_shard(path, framework="pt") as shard:
            for name in shard.keys():  # noqa: SIM118 - a safetensors handle is no mapping
                if (target := targets.pop(name, None)) is not None:
                    _check_shape(path, name, tuple(shard.get_slice(name).get_shape()), target)
                    target.copy_(shard.get_tensor(name))
                    done += target.nbytes
                    on_progress(done, total)
    if targets:
        raise ConfigError(f"{directory}: {listed(sorted(targets))} missing from its shard")
    return _assemble(tensors, config, placement)


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
