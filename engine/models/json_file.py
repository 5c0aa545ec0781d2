"""Typed reading of a model directory's JSON files, with errors that name file and field."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from legato.engine.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JsonFile:
    """One JSON object and where it came from."""

    path: Path
    fields: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "JsonFile":
        """Raises ConfigError if the file is missing, unreadable or no JSON object."""
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path} is missing") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from None
        if not isinstance(fields, dict):
            raise ConfigError(f"{path} holds no JSON object")
        return cls(path, fields)

    def with_defaults(self, defaults: Mapping[str, Any]) -> "JsonFile":
        """The same with fields that it lacks; a null is no lack."""
        return JsonFile(self.path, {**defaults, **self.fields})

    def get(self, name: str, kind: type[T], default: T | None = None) -> T:
        """The field's value; null counts as missing.

        Raises:
            ConfigError: the field is missing and has no default, or is of another type.
        """
        value = self.fields.get(name)
        if value is None:
            value = default
        if value is None:
            raise ConfigError(f"{self.path} lacks the field {name}")
        if kind is float and type(value) is int:
            value = float(value)
        # bool is an int to isinstance
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ConfigError(f"{self.path}: {name} is no {kind.__name__} but {value!r}")
        return value

    def positive(self, name: str, default: int | None = None) -> int:
        """Like `get`, of an integer that must be at least 1."""
        value = self.get(name, int, default)
        if value < 1:
            raise ConfigError(f"{self.path}: {name} must be at least 1, not {value}")
        return value
