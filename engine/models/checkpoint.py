"""A checkpoint's files, and whether they hold what config.json promises: safetensors only.

    safetensors file    | header length, 8 bytes | header, JSON | tensors, without gaps |

Reads headers, never weights, and knows neither torch nor a device: bringing tensors there is
weights.py's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from legato.engine.errors import ConfigError
from legato.engine.models.json_file import JsonFile
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.moe_parameters import expert_layout
from legato.engine.models.parameters import decoder_parameters
from legato.engine.models.quantization import is_scale

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_LENGTH_BYTES = 8
_LAYERS = "model."  # what a whole model calls what is not its head
_EMBEDDING = "embed_tokens.weight"  # without it, as checkpoints of layers alone have it


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as its file holds it: contiguous, little-endian."""

    dtype: str  # as safetensors names it: "BF16"
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the file


def locate_tensors(directory: Path, config: ModelConfig) -> dict[str, Path]:
    """Tensor name -> the file that holds it, of all tensors that the config promises.

    Names are those of a whole model, also where the checkpoint is of its layers alone.

    Raises:
        ConfigError: files or tensors are missing, broken or unexpected.
    """
    shards = find_shards(directory)
    if _EMBEDDING in shards:
        shards = {_LAYERS + name: path for name, path in shards.items()}
    _check_names(directory, config, shards)
    return shards


def find_shards(directory: Path) -> dict[str, Path]:
    """Tensor name -> the file that holds it, of all tensors that there are.

    Raises:
        ConfigError: files are missing or broken.
    """
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
    return dict.fromkeys(read_header(single_path), single_path)


def read_header(path: Path) -> dict[str, StoredTensor]:
    """What the file holds, by name.

    Raises:
        ConfigError: the file is broken: unreadable, cut short, or not as its header says.
    """
    try:
        # The library checks the header, and that file and tensors are as long as it says; where
        # each tensor begins it keeps to itself.
        with safe_open(path, framework="np"), path.open("rb") as file:
            num_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            header = json.loads(file.read(num_bytes))
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    header.pop("__metadata__", None)
    data_offset = _LENGTH_BYTES + num_bytes
    return {
        name: StoredTensor(
            entry["dtype"], tuple(entry["shape"]), data_offset + entry["data_offsets"][0]
        )
        for name, entry in header.items()
    }


def find_stored(header: Mapping[str, StoredTensor], name: str) -> StoredTensor | None:
    """A tensor by its name in a whole model."""
    return header.get(name) or header.get(name.removeprefix(_LAYERS))


def _check_names(directory: Path, config: ModelConfig, shards: Mapping[str, Path]) -> None:
    parameters = decoder_parameters(config, expert_layout(shards))
    expected = {source.name for parameter in parameters for source in parameter.sources}
    if missing := sorted(expected - shards.keys()):
        raise ConfigError(f"{directory}: {listed(missing)} missing from the weights")
    drafts = tuple(
        f"model.layers.{config.num_layers + number}." for number in range(config.num_draft_layers)
    )
    # Some exporters store a tied head again, and old ones the rope table.
    unexpected = [
        name
        for name in sorted(shards.keys() - expected)
        if not (name.endswith(".inv_freq") or name.startswith(drafts))
    ]
    if config.scale_block is not None:
        unexpected = [name for name in unexpected if not is_scale(name, expected)]
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
