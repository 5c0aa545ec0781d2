"""Models that were trained to make embeddings, in the layout of sentence-transformers.

    modules.json            Transformer ──> Pooling ──> Normalize
    1_Pooling/config.json   which hidden states make up the vector

Knows no weights. Vectors are normed by whoever answers with them.
"""

import json
from pathlib import Path
from typing import Any

from legato.engine.errors import ConfigError
from legato.engine.models.json_file import JsonFile
from legato.engine.sampling_params import Pooling

_POOLINGS = {"pooling_mode_lasttoken": Pooling.LAST, "pooling_mode_mean_tokens": Pooling.MEAN}
_SERVED = ("Transformer", "Pooling", "Normalize")


def read_pooling(directory: Path) -> Pooling | None:
    """How the model's vectors are made; None: it was not trained to make any.

    Raises:
        ConfigError: a file is broken, or asks for what is not supported.
    """
    path = directory / "modules.json"
    if not path.exists():
        return None
    folders = {kind: directory / folder for kind, folder in _read_modules(path)}
    if others := sorted(folders.keys() - set(_SERVED)):
        raise ConfigError(f"{path}: {others[0]} is not supported ({', '.join(_SERVED)} are)")
    if "Pooling" not in folders:
        raise ConfigError(f"{path} names no Pooling")
    config = JsonFile.read(folders["Pooling"] / "config.json")
    modes = [name for name, value in config.fields.items() if value is True and "mode" in name]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise ConfigError(
            f"{config.path}: {' with '.join(modes) or 'no mode'} is not supported"
            f" (one of {', '.join(_POOLINGS)} is)"
        )
    return _POOLINGS[modes[0]]


def _read_modules(path: Path) -> list[tuple[str, str]]:
    """The kind of each and its folder, in the order of computation."""
    try:
        modules: Any = json.loads(path.read_text(encoding="utf-8"))
        return [(str(one["type"]).rpartition(".")[2], str(one["path"])) for one in modules]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} cannot be read: {error!r}") from None
