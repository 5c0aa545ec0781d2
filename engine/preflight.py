"""What can be known of a model before any of it is loaded: whether it can be served as asked.

Reads config.json, the names of the tensors and the tokenizer; takes about a second.
"""

from legato.engine.config import EngineConfig
from legato.engine.kv_cache import PoolDemand, num_blocks_for
from legato.engine.model_runner import plan_model
from legato.engine.models.weights import check_checkpoint
from legato.engine.tokenizer import Tokenizer


def check_model(config: EngineConfig) -> None:
    """Finds what would keep the engine of one worker from starting.

    Raises:
        ConfigError: the model cannot be served as asked; one line says why and what to do.
    """
    plan = plan_model(config)
    if config.model.load_format != "dummy":
        check_checkpoint(plan.directory, plan.config)
    if not config.model.skip_tokenizer_init:
        Tokenizer.load(config.model.tokenizer or str(plan.directory))
    if plan.placement.device.type == "cpu":
        demand = PoolDemand(
            plan.max_model_len, config.scheduler.max_num_seqs, plan.placement.device
        )
        num_blocks_for(plan.kv_spec, config.cache, demand)
