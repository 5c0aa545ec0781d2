"""Where a model's files are: a directory as it stands, or a snapshot of a hub repository."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from legato.engine.errors import ConfigError

_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_OTHER_FILES = ["*/*.safetensors"]  # the same weights again, for other programs


def resolve_model_directory(model: str) -> Path:
    """The directory of a model given as a path or as a hub id `owner/name`.

    Raises:
        ConfigError: there is no such directory, and no such repository can be had.
    """
    if not model:
        raise ConfigError("no model given: name a directory in Hugging Face layout or a hub id")
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ConfigError(f"model {model} is a file, not a directory")
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise ConfigError(f"model directory {model} does not exist")
    try:
        return Path(snapshot_download(model, allow_patterns=_FILES, ignore_patterns=_OTHER_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"model {model} is no directory here, and the hub did not give it: {reason}"
        ) from None
