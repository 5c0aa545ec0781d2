"""A checkpoint of each decoder family in which all that it does differently matters.

Sizes are odd, windows shorter than prompts, softcaps low enough to bend, and positions go past the
original length of a stretched rope.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from legato.tests.checkpoints import Family, edit_json, load_reference, make_checkpoint

_ODD_SIZES = {
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "num_hidden_layers": 3,
}
_MOE_SIZES = {
    "num_hidden_layers": 4,
    "num_experts": 7,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 20,
}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 6 / 32,
    "original_max_position_embeddings": 32,
    "short_factor": [1.0, 1.1, 1.3],
    "long_factor": [1.2, 2.5, 7.0],
}


@dataclass(frozen=True, slots=True)
class Trap:
    family: Family
    overrides: dict[str, Any] = field(default_factory=dict)

    def make(self, directory: Path) -> Path:
        """Writes the checkpoint, and returns `directory`."""
        return make_checkpoint(directory, self.family, **self.overrides)


_GEMMA_SIZES = _ODD_SIZES | {
    "query_pre_attn_scalar": 23,
    "sliding_window": 9,
    "tie_word_embeddings": True,
}

_LATENT_SIZES = {
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "num_hidden_layers": 4,
    "kv_lora_rank": 20,
    "qk_nope_head_dim": 14,
    "qk_rope_head_dim": 10,
    "v_head_dim": 18,
    "rms_norm_eps": 0.01,
    "n_routed_experts": 12,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 20,
    "n_shared_experts": 2,
    "first_k_dense_replace": 2,
    "routed_scaling_factor": 1.7,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 32,
    "mscale": 0.707,
    "mscale_all_dim": 1.3,
}

TRAPS = {
    "mistral": Trap("mistral", _ODD_SIZES | {"sliding_window": 7}),
    "qwen2": Trap(
        "qwen2", {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}
    ),
    "qwen3": Trap(
        "qwen3",
        _ODD_SIZES | {"use_sliding_window": True, "sliding_window": 13, "max_window_layers": 2},
    ),
    "mixtral": Trap("mixtral", _ODD_SIZES | {"num_local_experts": 5, "sliding_window": 11}),
    "qwen2_moe": Trap(
        "qwen2_moe",
        _MOE_SIZES
        | {
            "shared_expert_intermediate_size": 28,
            "mlp_only_layers": [1],
            "use_sliding_window": True,
            "sliding_window": 9,
            "max_window_layers": 3,
        },
    ),
    "qwen3_moe": Trap(
        "qwen3_moe",
        _ODD_SIZES
        | _MOE_SIZES
        | {
            "norm_topk_prob": True,
            "decoder_sparse_step": 2,
            "use_sliding_window": True,
            "sliding_window": 13,
        },
    ),
    "glm4_moe": Trap(
        "glm4_moe",
        _ODD_SIZES
        | {
            "head_dim": 12,
            "num_hidden_layers": 4,
            "n_routed_experts": 12,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 20,
            "n_shared_experts": 2,
            "n_group": 4,
            "topk_group": 2,
            "first_k_dense_replace": 2,
            "routed_scaling_factor": 1.7,
            "attention_bias": True,
            "use_qk_norm": True,
        },
    ),
    "deepseek_v2": Trap(  # with what the smaller model lacks
        "deepseek_v2",
        _LATENT_SIZES
        | {
            "q_lora_rank": 24,
            "topk_method": "group_limited_greedy",
            "n_group": 4,
            "topk_group": 2,
            "rope_parameters": _YARN,
        },
    ),
    "deepseek_v2_lite": Trap(
        "deepseek_v2",
        _LATENT_SIZES | {"q_lora_rank": None, "n_group": 4, "topk_group": 2},
    ),
    "deepseek_v3": Trap(
        "deepseek_v3",
        _LATENT_SIZES
        | {
            "q_lora_rank": 24,
            "n_group": 4,
            "topk_group": 2,
            "norm_topk_prob": True,
            "rope_parameters": _YARN,
        },
    ),
    "gpt_oss": Trap(
        "gpt_oss",
        _ODD_SIZES
        | {
            "num_hidden_layers": 4,
            "num_local_experts": 7,
            "num_experts_per_tok": 3,
            "intermediate_size": 20,
            "sliding_window": 9,
            "swiglu_limit": 0.6,
            "swiglu_alpha": 1.3,
            "rms_norm_eps": 0.01,
            "rope_parameters": _YARN | {"truncate": False},
        },
    ),
    "phi3": Trap(
        "phi3",
        {
            "hidden_size": 128,
            "num_attention_heads": 4,
            "sliding_window": 21,
            "original_max_position_embeddings": 32,
            "rope_parameters": _LONGROPE,
        },
    ),
    "gemma2": Trap(
        "gemma2",
        _GEMMA_SIZES | {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.5},
    ),
    "gemma3": Trap(
        "gemma3",
        _GEMMA_SIZES
        | {
            "num_hidden_layers": 7,
            "final_logit_softcapping": 4.0,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
            },
        },
    ),
}


def load_trap_reference(checkpoint: Path, copy: Path) -> PreTrainedModel:
    """The checkpoint as transformers computes sequences of any length.

    transformers turns a longrope by its short factors as long as a sequence is short, and computes
    it anew when it outgrows that. Here it turns by the long ones at once.

    Args:
        copy: an empty directory, for a copy that says so
    """
    for path in checkpoint.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    config = copy / "config.json"
    rope = json.loads(config.read_text()).get("rope_parameters") or {}
    if rope.get("rope_type") == "longrope":
        edit_json(config, rope_parameters=rope | {"short_factor": rope["long_factor"]})
    return load_reference(copy)
