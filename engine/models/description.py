"""Which code serves a model: the decoder, if its family is known, else transformers' own."""

import logging
from importlib import import_module
from pathlib import Path

from legato.engine.models.families import find_family
from legato.engine.models.general_config import GeneralConfig
from legato.engine.models.json_file import JsonFile
from legato.engine.models.model_config import ModelConfig

logger = logging.getLogger(__name__)


def describe_model(directory: Path, trusts_code: bool = False) -> ModelConfig | GeneralConfig:
    """What there is to know of a model in Hugging Face layout before it is loaded.

    Args:
        trusts_code: Python code among its files may be run

    Raises:
        ConfigError: a file is missing or broken, or the model cannot be served; it says why.
    """
    names = JsonFile.read(directory / "config.json").get("architectures", list, [])
    if find_family(names) is not None:
        return ModelConfig.load(directory)
    # Torch and transformers' models are not for those who can do without.
    probe = import_module("legato.engine.models.general_probe")
    config = probe.probe_model(directory, trusts_code)
    assert isinstance(config, GeneralConfig)
    return config


def log_choice(config: ModelConfig | GeneralConfig) -> None:
    """Says which code serves the model."""
    if isinstance(config, ModelConfig):
        logger.info("%s: served by the native decoder", config.architecture)
    else:
        logger.info("%s: served by transformers' code, with paged attention", config.architecture)
