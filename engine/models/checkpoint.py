"""A checkpoint's files, and whether they hold what config.json promises: safetensors only.

Reads names, never weights, and knows no device: bringing tensors there is weights.py's.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from legato.engine.errors import ConfigError
from legato.engine.models.json_file import JsonFile
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.parameters import decoder_parameters

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"


def locate_tensors(directory: Path, config: ModelConfig) -> dict[str, Path]:
    """Tensor name -> the file that holds it, of all tensors that the config promises.

    Raises:
        ConfigError: files or tensors are missing, broken or unexpected.
    """
    shards = _find_shards(directory)
    _check_names(directory, config, shards)
    return shards


def _find_shards(directory: Path) -> dict[str, Path]:
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
    with open_shard(single_path, framework="np") as file:
        return dict.fromkeys(file.keys(), single_path)


@contextmanager
def open_shard(path: Path, framework: Literal["np", "pt"]) -> Iterator[Any]:
    """The file's safetensors handle, whose tensors would be numpy's ("np") or torch's ("pt").

    Raises:
        ConfigError: the file is broken, or proves to be while it is open.
    """
    try:
        with safe_open(path, framework=framework, device="cpu") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _check_names(directory: Path, config: ModelConfig, shards: Mapping[str, Path]) -> None:
    parameters = decoder_parameters(config)
    expected = {source.name for parameter in parameters for source in parameter.sources}
    if missing := sorted(expected - shards.keys()):
        raise ConfigError(f"{directory}: {listed(missing)} missing from the weights")
    # Some exporters store a tied head again, and old ones the rope table.
    unexpected = [n for n in sorted(shards.keys() - expected) if not n.endswith(".inv_freq")]
    if config.has_tied_embeddings and "lm_head.weight" in unexpected:
        unexpected.remove("lm_head.weight")
    if unexpected:
        raise ConfigError(
            f"{directory}: {listed(unexpected)} in the weights, but not in a {config.architecture}"
            " of this config.json"
        )


def listed(names: list[str]) -> str:
    """The first name, and how many more there are."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"
