"""Has transformers bring a model's weights onto the device, straight from safetensors.

Which names of a checkpoint become which tensors is transformers' business: it knows old names,
and joins experts.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.utils.logging import set_tqdm_hook

from legato.engine.errors import ConfigError
from legato.engine.models.checkpoint import listed
from legato.engine.models.general_attention import PAGED, register
from legato.engine.models.general_config import GeneralConfig
from legato.engine.models.general_network import GeneralNetwork
from legato.engine.models.general_parts import ModelParts
from legato.engine.models.general_probe import read_config
from legato.engine.models.general_trial import check_batches, runs_ahead
from legato.engine.models.weights import OnProgress, Placement

logger = logging.getLogger(__name__)


def load_general(
    directory: Path, config: GeneralConfig, placement: Placement, on_progress: OnProgress
) -> GeneralNetwork:
    """Reads the checkpoint in `directory`.

    Args:
        on_progress: told of tensors done, and in all

    Raises:
        ConfigError: files or tensors are missing or of the wrong shape.
    """
    register()
    try:
        with _reported(on_progress):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                directory,
                config=_config_for(directory, config),
                dtype=placement.dtype,
                device_map={"": placement.device},
                attn_implementation=PAGED,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # which of them it only reports then
                local_files_only=True,
                output_loading_info=True,
                trust_remote_code=config.trusts_code,
            )
    except Exception as error:  # it raises nearly anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ConfigError(f"{directory} cannot be loaded: {reason}") from error
    model, report = loaded
    for problem, names in (
        ("missing from the weights", report["missing_keys"]),
        ("of another shape than config.json asks for", [m[0] for m in report["mismatched_keys"]]),
    ):
        if names:
            raise ConfigError(f"{directory}: {listed(sorted(names))} {problem}")
    return _network(model, config)


def dummy_general(
    directory: Path, config: GeneralConfig, placement: Placement, seed: int
) -> GeneralNetwork:
    """Random weights as transformers draws them before training, the same for the same seed."""
    register()
    devices = [placement.device] if placement.device.type == "cuda" else []
    with torch.random.fork_rng(devices), placement.device:
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            _config_for(directory, config),
            dtype=placement.dtype,
            attn_implementation=PAGED,
            trust_remote_code=config.trusts_code,
        )
    return _network(model, config)


def _network(model: PreTrainedModel, config: GeneralConfig) -> GeneralNetwork:
    model.eval().requires_grad_(False)
    parts = ModelParts.of(model)
    try:
        check_batches(parts)
    except ConfigError as error:
        raise ConfigError(f"{config.architecture} cannot be served: {error}") from error
    is_capturable = runs_ahead(parts)
    if parts.device.type == "cuda" and not is_capturable:
        logger.info("%s: its code waits for the GPU, without CUDA graphs", config.architecture)
    return GeneralNetwork(parts, config, is_capturable)


def _config_for(directory: Path, config: GeneralConfig) -> PreTrainedConfig:
    """Transformers' config, with ropes that turn a token by the same angle in every step.

    Ropes with factors for short and for long sequences would change over as a sequence grows, and
    disagree with the keys that are stored: the longest sequence decides for all.
    """
    loaded = read_config(directory, config.trusts_code)
    ropes = getattr(loaded.get_text_config(decoder=True), "rope_parameters", None) or {}
    for rope in (ropes, *ropes.values()):
        if isinstance(rope, dict) and rope.get("rope_type") == "longrope":
            is_long = config.rope_len > rope["original_max_position_embeddings"]
            rope["short_factor"] = rope["long_factor"] = rope[
                "long_factor" if is_long else "short_factor"
            ]
    return loaded


class _ReportedLoop:
    """Stands in for transformers' progress bar, around what it iterates over."""

    def __init__(self, items: Any, on_progress: OnProgress) -> None:
        self._items = items
        self._on_progress = on_progress

    def __iter__(self) -> Iterator[Any]:
        for done, item in enumerate(self._items, start=1):
            yield item
            self._on_progress(done, len(self._items))


@contextmanager
def _reported(on_progress: OnProgress) -> Iterator[None]:
    """Progress of loops within goes to `on_progress` instead of a bar."""

    def bar(factory: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return _ReportedLoop(args[0], on_progress) if args else factory(*args, **options)

    before = set_tqdm_hook(bar)
    try:
        yield
    finally:
        set_tqdm_hook(before)
