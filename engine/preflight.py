"""What can be known of a model before any of it is loaded: whether it can be served as asked.

Reads config.json, the names of the tensors and the tokenizer. For the families of our decoder it
needs neither torch nor transformers, which alone take longer to import than everything here takes
to run: whether there is a GPU is asked of the operating system.
"""

from pathlib import Path

from tokenizers import Tokenizer

from legato.engine.config import EngineConfig
from legato.engine.errors import ConfigError
from legato.engine.host_memory import available_memory_bytes
from legato.engine.kv_layout import PoolDemand, num_blocks_for
from legato.engine.model_plan import ModelPlan, choose_device, plan_model
from legato.engine.models.checkpoint import find_shards, locate_tensors
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.sentence_embedding import read_pooling
from legato.engine.models.source import resolve_model_directory

_GPU_DRIVER = Path("/proc/driver/nvidia/version")
_TOKENIZER = "tokenizer.json"
# From which transformers can make what a tokenizer.json would hold.
_OTHER_TOKENIZERS = ("tokenizer.model", "tekken.json", "vocab.json", "vocab.txt")


def check_model(config: EngineConfig) -> None:
    """Finds what would keep the engine of one worker from starting.

    Raises:
        ConfigError: the model cannot be served as asked; one line says why and what to do.
    """
    device_type = choose_device(config.model, has_gpu=_GPU_DRIVER.exists())
    plan = plan_model(config, device_type)
    read_pooling(plan.directory)
    if config.model.load_format != "dummy":
        _check_weights(plan)
    if not config.model.skip_tokenizer_init:
        _check_tokenizer(config.model.tokenizer or str(plan.directory))
    if device_type == "cpu":
        _check_host_pool(config, plan)


def _check_weights(plan: ModelPlan) -> None:
    if isinstance(plan.config, ModelConfig):
        locate_tensors(plan.directory, plan.config)
    else:
        find_shards(plan.directory)  # what transformers makes of them, it knows when it reads them


def _check_tokenizer(name: str) -> None:
    directory = resolve_model_directory(name)
    path = directory / _TOKENIZER
    if path.is_file():
        try:
            Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust side raises nothing more precise
            raise ConfigError(f"no tokenizer can be loaded from {path}: {error}") from None
    elif not any((directory / other).is_file() for other in _OTHER_TOKENIZERS):
        raise ConfigError(f"no tokenizer can be loaded from {name}: it has no {_TOKENIZER}")


def _check_host_pool(config: EngineConfig, plan: ModelPlan) -> None:
    demand = PoolDemand(
        plan.max_model_len,
        config.scheduler.max_num_seqs,
        available_bytes=available_memory_bytes(),
        on_host=True,
    )
    num_blocks_for(plan.kv_spec, config.cache, demand)
