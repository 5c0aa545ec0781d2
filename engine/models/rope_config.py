"""Rotary position embedding: what config.json says of it.

Old files give `rope_theta` and `rope_scaling`, newer ones `rope_parameters`; both say the same.
How frequencies follow from it is rope.py's.
"""

import math
from dataclasses import dataclass, replace

from legato.engine.errors import ConfigError
from legato.engine.models.json_file import JsonFile

_TYPES = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeParameters:
    """`type` chooses which of the fields after `theta` mean something."""

    type: str
    theta: float
    factor: float = 1.0
    original_max_position: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 1.0  # on cosines and sines

    @classmethod
    def read(cls, config: JsonFile) -> "RopeParameters":
        """Raises ConfigError for a rope type or field that is not supported."""
        raw = config.get("rope_parameters", dict, config.get("rope_scaling", dict, {}))
        rope = JsonFile(config.path, raw)
        rope_type = rope.get("rope_type", str, rope.get("type", str, "default"))
        _refuse_unsupported(config, rope, rope_type)
        theta = rope.get("rope_theta", float, config.get("rope_theta", float, 10000.0))
        if rope_type == "default":
            return cls(type=rope_type, theta=theta)
        factor = rope.get("factor", float)
        if rope_type == "linear":
            return cls(type=rope_type, theta=theta, factor=factor)
        original = rope.positive(
            "original_max_position_embeddings", config.positive("max_position_embeddings")
        )
        stretched = cls(type=rope_type, theta=theta, factor=factor, original_max_position=original)
        if rope_type == "llama3":
            return replace(
                stretched,
                low_freq_factor=rope.get("low_freq_factor", float),
                high_freq_factor=rope.get("high_freq_factor", float),
            )
        return replace(
            stretched,
            beta_fast=rope.get("beta_fast", float, 32.0),
            beta_slow=rope.get("beta_slow", float, 1.0),
            attention_factor=_yarn_attention_factor(rope, factor),
        )

    def context_len(self, max_position_embeddings: int) -> int:
        """Longest context: linear and yarn extend what config.json calls the maximum."""
        if self.type == "linear":
            return int(max_position_embeddings * self.factor)
        if self.type == "yarn":
            return max(max_position_embeddings, int(self.original_max_position * self.factor))
        return max_position_embeddings


def _refuse_unsupported(config: JsonFile, rope: JsonFile, rope_type: str) -> None:
    if any(isinstance(value, dict) for value in rope.fields.values()):
        raise ConfigError(f"{config.path}: rope parameters by layer type are not supported")
    if rope_type not in _TYPES:
        raise ConfigError(
            f"{config.path}: rope type {rope_type} is not supported ({', '.join(_TYPES)} are)"
        )
    configured = config.get("partial_rotary_factor", float, 1.0)
    share = rope.get("partial_rotary_factor", float, configured)
    if share != 1.0:
        raise ConfigError(f"{config.path}: partial_rotary_factor {share} is not supported")


def _yarn_attention_factor(rope: JsonFile, factor: float) -> float:
    def magnitude(scale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    if {"mscale", "mscale_all_dim"} <= rope.fields.keys():
        computed = magnitude(rope.get("mscale", float)) / magnitude(
            rope.get("mscale_all_dim", float)
        )
    else:
        computed = magnitude(1.0)
    return rope.get("attention_factor", float, computed)
