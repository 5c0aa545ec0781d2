"""Turns what was given for an option into a value of the option's type, or refuses it in one line.

Values come as Python objects, from YAML, or as text from a command line; text is read by the type
that the field is annotated with. Knows the fields' types and limits, not what the options mean.
"""

import dataclasses
import math
import os
import re
import types
import typing
from typing import Any

from legato.engine.errors import ConfigError

TRUE_WORDS = ("true", "yes", "on", "1")
FALSE_WORDS = ("false", "no", "off", "0")
NONE_WORDS = ("", "none", "null")
# As in vLLM's flags: 8k is 8000 and 8K is 8192.
INTEGER_UNITS = {
    "": 1,
    "k": 1000,
    "m": 1000**2,
    "g": 1000**3,
    "K": 1 << 10,
    "M": 1 << 20,
    "G": 1 << 30,
}


def option_value(option_field: dataclasses.Field[Any], value: Any) -> Any:
    """`value` as the field's type: str, int, float, bool, tuple[str, ...], or None where allowed.

    Raises:
        ConfigError: the value cannot be read as that type, is not among the field's choices, or
            is outside its limits. The message names the option and what it allows.
    """
    base, optional = base_type(option_field)
    if optional and (value is None or _is_word(value, NONE_WORDS)):
        return None
    try:
        converted = _READERS[base](value)
    except ValueError as error:
        raise ConfigError(f"{option_field.name} must be {error}, not {value!r}") from None
    _check_limits(option_field, converted)
    return converted


def base_type(option_field: dataclasses.Field[Any]) -> tuple[type, bool]:
    """The field's type without `| None`, a tuple's as `tuple`; and whether None is allowed."""
    annotation: Any = option_field.type
    members = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else ()
    if members:
        (annotation,) = (member for member in members if member is not types.NoneType)
    base: type = typing.get_origin(annotation) or annotation
    return base, bool(members)


def _check_limits(option_field: dataclasses.Field[Any], value: Any) -> None:
    name, limits = option_field.name, option_field.metadata
    if value == "" and option_field.default != "":
        raise ConfigError(f"{name} must not be empty")
    choices = limits["choices"]
    if choices and value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    if limits["minimum"] is not None and value < limits["minimum"]:
        raise ConfigError(f"{name} must be at least {limits['minimum']}, not {value}")
    if limits["maximum"] is not None and value > limits["maximum"]:
        raise ConfigError(f"{name} must be at most {limits['maximum']}, not {value}")


def _is_word(value: object, words: tuple[str, ...]) -> bool:
    return isinstance(value, str) and value.strip().lower() in words


def _read_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if _is_word(value, TRUE_WORDS):
        return True
    if _is_word(value, FALSE_WORDS):
        return False
    raise ValueError("true or false")


def _read_int(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([+-]?\d{1,18})([kmgKMG]?)\s*", value, re.ASCII)
        if match:
            return int(match[1]) * INTEGER_UNITS[match[2]]
    raise ValueError("a whole number (8k and 8K are 8000 and 8192)")


def _read_float(value: object) -> float:
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise ValueError("a number")


def _read_str(value: object) -> str:
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    raise ValueError("text (in quotes, where it looks like a number)")


def _read_tuple(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list | tuple):
        parts = tuple(_read_str(part) for part in value)
        if all(parts):  # an empty key or name comes from a variable that nobody set
            return parts
    raise ValueError("a list of texts, none of them empty")


_READERS = {
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
    str: _read_str,
    tuple: _read_tuple,
}
