"""Fields of a model directory's JSON files that mean the same for every model."""

from pathlib import Path

from legato.engine.dtypes import DTYPE_BYTES
from legato.engine.errors import ConfigError
from legato.engine.models.json_file import JsonFile

_SAMPLING_DEFAULTS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def read_generation(directory: Path) -> JsonFile:
    """generation_config.json, empty where there is none."""
    path = directory / "generation_config.json"
    return JsonFile.read(path) if path.exists() else JsonFile(path, {})


def sampling_defaults(generation: JsonFile) -> dict[str, float]:
    """What generation_config.json recommends, by SamplingParams' names."""
    return {
        name: generation.fields[name]
        for name in _SAMPLING_DEFAULTS
        if isinstance(generation.fields.get(name), int | float)
    }


def eos_token_ids(generation: JsonFile, config: JsonFile) -> tuple[int, ...]:
    """The tokens that end an answer; generation_config.json knows better."""
    return _eos_token_ids(generation) or _eos_token_ids(config)


def _eos_token_ids(file: JsonFile) -> tuple[int, ...]:
    ids = file.fields.get("eos_token_id")
    listed = ids if isinstance(ids, list) else [] if ids is None else [ids]
    if not all(isinstance(token_id, int) for token_id in listed):
        raise ConfigError(f"{file.path}: eos_token_id is neither a number nor a list: {ids!r}")
    return tuple(listed)


def checkpoint_dtype(config: JsonFile) -> str:
    """One of DTYPE_BYTES."""
    name = config.get("dtype", str, config.get("torch_dtype", str, "float32"))
    if name not in DTYPE_BYTES:
        raise ConfigError(
            f"{config.path}: dtype {name} is not supported ({', '.join(DTYPE_BYTES)} are)"
        )
    return name
