"""Brings a model onto its device, by the code that serves it."""

from importlib import import_module
from pathlib import Path
from typing import cast

from legato.engine.load_progress import LoadProgress, OnProgress
from legato.engine.models.decoder import Decoder
from legato.engine.models.general_config import GeneralConfig
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.network import Network
from legato.engine.models.weights import Placement, dummy_weights, load_weights

_GENERAL = "legato.engine.models.general_weights"  # with transformers' models


def load_network(
    directory: Path,
    config: ModelConfig | GeneralConfig,
    placement: Placement,
    on_progress: OnProgress,
) -> Network:
    """Reads a checkpoint.

    Raises:
        ConfigError: files or tensors are missing, broken or of the wrong shape.
    """

    def report(unit: str, done: int, total: int) -> None:
        on_progress(LoadProgress("loading weights", done, total, unit))

    if isinstance(config, ModelConfig):
        weights = load_weights(
            directory, config, placement, lambda done, total: report("B", done, total)
        )
        return Decoder(weights, config)
    load_general = import_module(_GENERAL).load_general
    return cast(
        Network,
        load_general(
            directory, config, placement, lambda done, total: report("tensors", done, total)
        ),
    )


def dummy_network(
    directory: Path, config: ModelConfig | GeneralConfig, placement: Placement, seed: int
) -> Network:
    """The same model with random weights, the same for the same seed."""
    if isinstance(config, ModelConfig):
        return Decoder(dummy_weights(config, placement, seed), config)
    dummy_general = import_module(_GENERAL).dummy_general
    return cast(Network, dummy_general(directory, config, placement, seed))
