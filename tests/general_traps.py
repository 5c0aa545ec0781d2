"""Checkpoints of architectures that no module of ours names, with all that they do differently.

The general path serves whatever transformers' code computes through its attention interface: these
are examples of how much that code may differ.
"""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM

from legato.tests.checkpoints import random_model

_TOKENS = {
    "vocab_size": 97,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": [2, 3],
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
_SIZES = {
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
}


@dataclass(frozen=True, slots=True)
class GeneralTrap:
    """
    Attributes:
        model_type: as transformers calls it
    """

    model_type: str
    overrides: dict[str, Any] = field(default_factory=dict)

    def make(self, directory: Path) -> Path:
        """Writes the checkpoint, and returns `directory`."""
        sizes = _TOKENS | _SIZES | self.overrides
        config = AutoConfig.for_model(self.model_type, initializer_range=0.2, **sizes)
        model = random_model(partial(AutoModelForCausalLM.from_config, config), seed=0)
        model.save_pretrained(directory)
        return directory


_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 16.0,
    "original_max_position_embeddings": 32,
}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "original_max_position_embeddings": 32,
    "short_factor": [1.0, 1.1, 1.3],
    "long_factor": [1.2, 2.5, 7.0],
}

GENERAL_TRAPS = {
    "glm4": GeneralTrap(  # interleaved, partial rope; norms behind attention and MLP
        "glm4",
        {
            "head_dim": 10,
            "attention_bias": True,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 100.0,
                "partial_rotary_factor": 0.4,
            },
        },
    ),
    "olmo2": GeneralTrap("olmo2", {"rope_parameters": _YARN}),  # norms of whole projections
    "starcoder2": GeneralTrap(  # layer norms, biases, a window, a plain MLP
        "starcoder2", {"sliding_window": 9, "use_bias": True, "tie_word_embeddings": True}
    ),
    "cohere2": GeneralTrap(  # parallel blocks, windowed layers with ropes among plain ones without
        "cohere2",
        {
            "head_dim": 10,
            "sliding_window": 7,
            "num_hidden_layers": 5,
            "layer_norm_eps": 0.01,
            "logit_scale": 0.3,
            "tie_word_embeddings": True,
        },
    ),
    "granite": GeneralTrap(  # factors everywhere, a rope that changes with the length
        "granite",
        {
            "attention_multiplier": 0.4,
            "embedding_multiplier": 2.5,
            "residual_multiplier": 0.6,
            "logits_scaling": 1.7,
            "attention_bias": True,
            "mlp_bias": True,
            "rope_parameters": _LONGROPE,
        },
    ),
    "granite_swa": GeneralTrap("granite_swa", {"head_dim": 10, "sliding_window": 9}),  # sinks
    "smollm3": GeneralTrap(  # layers without ropes, of which some have windows
        "smollm3",
        {
            "no_rope_layers": [1, 0, 1],
            "use_sliding_window": True,
            "sliding_window": 11,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "phi": GeneralTrap(  # parallel blocks, partial rope, norms of queries and keys, a head's bias
        "phi", {"partial_rotary_factor": 0.7, "qk_layernorm": True}
    ),
    "gpt_neox": GeneralTrap(
        "gpt_neox",
        {
            "num_key_value_heads": None,
            "rope_parameters": {
                "rope_type": "linear",
                "rope_theta": 100.0,
                "factor": 3.0,
                "partial_rotary_factor": 0.7,
            },
            "use_parallel_residual": False,
        },
    ),
    "opt": GeneralTrap(  # learned positions with an offset, embeddings narrower than the layers
        "opt",
        {
            "ffn_dim": 44,
            "word_embed_proj_dim": 20,
            "num_key_value_heads": None,
            "init_std": 0.2,
            "tie_word_embeddings": True,
        },
    ),
    "minicpm3": GeneralTrap(  # keys wider than values
        "minicpm3",
        {
            "num_key_value_heads": 6,
            "q_lora_rank": 24,
            "kv_lora_rank": 20,
            "qk_nope_head_dim": 14,
            "qk_rope_head_dim": 10,
            "v_head_dim": 18,
            "scale_emb": 3,
            "scale_depth": 1.4,
            "dim_model_base": 20,
        },
    ),
    "olmoe": GeneralTrap(
        "olmoe",
        {
            "hidden_size": 48,
            "intermediate_size": 40,
            "num_experts": 7,
            "num_experts_per_tok": 3,
            "norm_topk_prob": True,
        },
    ),
}
