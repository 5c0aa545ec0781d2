"""Rotary position embedding: what config.json says of it.

Old files give `rope_theta` and `rope_scaling`, newer ones `rope_parameters`; both say the same.
How frequencies follow from it is rope.py's.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from legato.engine.errors import ConfigError
from legato.engine.models.json_file import JsonFile

_TYPES = ("default", "linear", "llama3", "yarn", "longrope")


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeParameters:
    """`type` chooses which of the fields after `rotated_share` mean something.

    Attributes:
        rotated_share: of each head's dimensions; the others keep their values
        attention_factor: on cosines and sines
        score_factor: on scores, in families that heed it
        truncates: dimensions where blending begins and ends are rounded to whole ones
        short_factors, long_factors: [rotary_dim / 2] by which the dimensions turn slower
        is_long: sequences may outgrow the original length, and turn by the long factors from
            their first token on: keys that are stored cannot turn again
    """

    type: str
    theta: float
    rotated_share: float = 1.0
    factor: float = 1.0
    original_max_position: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 1.0
    score_factor: float = 1.0
    truncates: bool = True
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()
    is_long: bool = False

    @classmethod
    def read(cls, config: JsonFile, rope: JsonFile) -> "RopeParameters":
        """Reads one rope.

        Args:
            config: the whole config.json, for fields that old files have outside of `rope`
            rope: its part about this rope

        Raises:
            ConfigError: a rope type or field is not supported.
        """
        rope_type = _type(rope)
        plain = cls(
            type=rope_type,
            theta=rope.get("rope_theta", float, config.get("rope_theta", float, 10000.0)),
            rotated_share=rope.get(
                "partial_rotary_factor", float, config.get("partial_rotary_factor", float, 1.0)
            ),
        )
        if rope_type == "default":
            return plain
        if rope_type == "linear":
            return replace(plain, factor=rope.get("factor", float))
        max_position = config.positive("max_position_embeddings")
        inside = rope.positive("original_max_position_embeddings", max_position)
        original = config.positive("original_max_position_embeddings", inside)
        if rope_type == "longrope":
            return _read_longrope(plain, rope, original, max_position)
        factor = rope.get("factor", float)
        stretched = replace(plain, factor=factor, original_max_position=original)
        return (
            _read_llama3(stretched, rope) if rope_type == "llama3" else _read_yarn(stretched, rope)
        )

    def rotary_dim(self, head_dim: int) -> int:
        """How many of a head's dimensions turn."""
        return int(head_dim * self.rotated_share)

    def context_len(self, max_position_embeddings: int) -> int:
        """Longest context: linear and yarn extend what config.json calls the maximum."""
        if self.type == "linear":
            return int(max_position_embeddings * self.factor)
        if self.type == "yarn":
            return max(max_position_embeddings, int(self.original_max_position * self.factor))
        return max_position_embeddings

    def for_length(self, max_model_len: int) -> "RopeParameters":
        """The rope of an engine whose sequences have at most so many tokens."""
        if self.type != "longrope":
            return self
        return replace(self, is_long=max_model_len > self.original_max_position)


def read_ropes(config: JsonFile, head_dim: int, has_local_rope: bool) -> tuple[RopeParameters, ...]:
    """The rope of layers that see everything, and where it is another, that of those with a window.

    Raises:
        ConfigError: a rope type or field is not supported, or heads of this size cannot turn so.
    """
    ropes = tuple(
        RopeParameters.read(config, JsonFile(config.path, fields))
        for fields in _fields_of_ropes(config, has_local_rope)
    )
    for rope in ropes:
        _check_fits(rope, head_dim, config)
    return ropes


def _fields_of_ropes(config: JsonFile, has_local_rope: bool) -> list[dict[str, Any]]:
    given = config.get("rope_parameters", dict, config.get("rope_scaling", dict, {}))
    is_by_layer_type = any(isinstance(value, dict) for value in given.values())
    if not has_local_rope:
        if is_by_layer_type:
            raise ConfigError(f"{config.path}: rope parameters by layer type are not supported")
        return [given]
    by_type = JsonFile(config.path, given if is_by_layer_type else {"full_attention": given})
    theta = config.get("rope_local_base_freq", float)
    local = {"rope_theta": theta} | by_type.get("sliding_attention", dict, {})
    return [by_type.get("full_attention", dict, {}), local]


def _check_fits(rope: RopeParameters, head_dim: int, config: JsonFile) -> None:
    rotary_dim = rope.rotary_dim(head_dim)
    if rotary_dim < 2 or rotary_dim % 2 or rotary_dim > head_dim:
        raise ConfigError(
            f"{config.path}: partial_rotary_factor {rope.rotated_share} of head_dim {head_dim} is"
            " no even number of dimensions"
        )
    for name, factors in (("short", rope.short_factors), ("long", rope.long_factors)):
        if rope.type == "longrope" and len(factors) != rotary_dim // 2:
            raise ConfigError(
                f"{config.path}: {name}_factor has {len(factors)} entries, not {rotary_dim // 2}"
            )


def _type(rope: JsonFile) -> str:
    name = rope.get("rope_type", str, rope.get("type", str, "default"))
    if name == "su" or (name == "yarn" and "long_factor" in rope.fields):
        return "longrope"  # as files of the first Phi-3 call it
    if name not in _TYPES:
        raise ConfigError(
            f"{rope.path}: rope type {name} is not supported ({', '.join(_TYPES)} are)"
        )
    return name


def _read_llama3(rope: RopeParameters, fields: JsonFile) -> RopeParameters:
    return replace(
        rope,
        low_freq_factor=fields.get("low_freq_factor", float),
        high_freq_factor=fields.get("high_freq_factor", float),
    )


def _read_yarn(rope: RopeParameters, fields: JsonFile) -> RopeParameters:
    def magnitude(scale: float) -> float:
        return 1.0 if rope.factor <= 1 else 0.1 * scale * math.log(rope.factor) + 1.0

    computed = magnitude(1.0)
    if {"mscale", "mscale_all_dim"} <= fields.fields.keys():
        computed = magnitude(fields.get("mscale", float))
        computed /= magnitude(fields.get("mscale_all_dim", float))
    return replace(
        rope,
        beta_fast=fields.get("beta_fast", float, 32.0),
        beta_slow=fields.get("beta_slow", float, 1.0),
        truncates=fields.get("truncate", bool, True),
        attention_factor=fields.get("attention_factor", float, computed),
        score_factor=magnitude(fields.get("mscale_all_dim", float, 0.0)) ** 2,
    )


def _read_longrope(
    rope: RopeParameters, fields: JsonFile, original_max_position: int, max_position: int
) -> RopeParameters:
    factor = fields.get("factor", float, max_position / original_max_position)
    computed = 1.0
    if factor > 1:
        computed = math.sqrt(1 + math.log(factor) / math.log(original_max_position))
    return replace(
        rope,
        original_max_position=original_max_position,
        attention_factor=fields.get("attention_factor", float, computed),
        short_factors=_numbers(fields, "short_factor"),
        long_factors=_numbers(fields, "long_factor"),
        is_long=max_position > original_max_position,
    )


def _numbers(fields: JsonFile, name: str) -> tuple[float, ...]:
    values = fields.get(name, list)
    if not all(isinstance(value, int | float) and value > 0 for value in values):
        raise ConfigError(f"{fields.path}: {name} is no list of positive numbers")
    return tuple(map(float, values))
