"""Checkpoints whose weights have fewer bits than 16, as `quantization_config` tells of them.

Matrices of 8 bits have a scale for each block of, for example, 128 rows and 128 inputs:

    X.weight             [rows, inputs]               float8_e4m3fn
    X.weight_scale_inv   [row blocks, input blocks]   rounded up;  weight = stored * scale

They are widened as they are loaded, and so are experts of 4 bits: conversion.py. Nothing is
computed in fewer bits.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from legato.engine.errors import ConfigError
from legato.engine.models.json_file import JsonFile
from legato.engine.models.parameter import SourceTensor

_SCALE_SUFFIX = "_scale_inv"


@dataclass(frozen=True, slots=True)
class ScaleBlock:
    """The part of a matrix that has one scale."""

    num_rows: int
    num_inputs: int

    def scales_of(self, matrix: SourceTensor) -> SourceTensor:
        """The tensor with a stored matrix's scales."""
        rows, inputs = matrix.shape
        shape = (-(-rows // self.num_rows), -(-inputs // self.num_inputs))
        return SourceTensor(matrix.name + _SCALE_SUFFIX, shape)


def is_scale(name: str, matrices: Collection[str]) -> bool:
    """Whether a tensor holds the scales of one of the matrices."""
    return name.endswith(_SCALE_SUFFIX) and name.removesuffix(_SCALE_SUFFIX) in matrices


def read_scale_block(config: JsonFile, of_experts: Collection[str] = ()) -> ScaleBlock | None:
    """What has a scale; None where weights are not of 8 bits.

    Args:
        of_experts: ways of experts' weights alone that are served besides

    Raises:
        ConfigError: weights are quantized in a way that is not served.
    """
    if config.fields.get("quantization_config") is None:
        return None
    fields = _quantization(config)
    method, block = fields.get("quant_method"), fields.get("weight_block_size")
    if method in of_experts:
        return None
    if method != "fp8" or fields.get("fmt", "e4m3") != "e4m3" or not isinstance(block, list):
        raise _refusal(config)
    if len(block) != 2 or not all(type(size) is int and size > 0 for size in block):
        raise ConfigError(f"{config.path}: weight_block_size must be two positive integers")
    return ScaleBlock(*block)


def refuse_quantized(config: JsonFile) -> None:
    """Raises ConfigError if the checkpoint's weights are quantized."""
    if config.fields.get("quantization_config") is not None:
        raise _refusal(config)


def _quantization(config: JsonFile) -> dict[str, Any]:
    fields = config.fields["quantization_config"]
    return fields if isinstance(fields, dict) else {}


def _refusal(config: JsonFile) -> ConfigError:
    method = _quantization(config).get("quant_method")
    how = f"weights quantized by {method}" if isinstance(method, str) else "quantized weights"
    return ConfigError(
        f"{config.path}: {how} are not supported like this; "
        "serve the model's checkpoint in bfloat16 or float16 instead"
    )
