"""What differs between the dense decoder families that one decoder serves.

A new family is an entry here, as long as it is built of the parts that `decoder` knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any


class WindowPattern(Enum):
    """Which layers see no further than `sliding_window`, where config.json does not list them."""

    NONE = auto()  # none, and config.json may not ask for any
    ALL = auto()
    LATE = auto()  # from `max_window_layers` on, if `use_sliding_window` is set
    PERIODIC = auto()  # all but every `sliding_window_pattern`th


@dataclass(frozen=True, slots=True)
class DecoderFamily:
    """The parts of an architecture that its config.json does not spell out.

    Biases: None means that `attention_bias` or `mlp_bias` in config.json decides.

    Attributes:
        has_output_norms: what attention and MLP give is normed before it is added
        has_offset_norms: norm weights are stored as their distance from one
        has_scaled_embedding: by the root of the hidden size
        has_fused_projections: the checkpoint joins what reads the same input
        has_local_rope: layers with a window have a rope of their own
        defaults: fields of config.json that mean something else than in other families, or
            nothing at all there, where the file lacks them
    """

    has_qk_norm: bool = False
    has_qkv_bias: bool | None = None
    has_output_bias: bool | None = None
    has_mlp_bias: bool | None = None
    has_output_norms: bool = False
    has_offset_norms: bool = False
    has_scaled_embedding: bool = False
    has_fused_projections: bool = False
    has_local_rope: bool = False
    windows: WindowPattern = WindowPattern.NONE
    defaults: Mapping[str, Any] = field(default_factory=dict)


_GEMMA_DEFAULTS = {
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
}

FAMILIES = {
    "LlamaForCausalLM": DecoderFamily(),
    "MistralForCausalLM": DecoderFamily(
        has_qkv_bias=False,
        has_output_bias=False,
        has_mlp_bias=False,
        windows=WindowPattern.ALL,
        defaults={"sliding_window": 4096},
    ),
    "Qwen2ForCausalLM": DecoderFamily(
        has_qkv_bias=True,
        has_output_bias=False,
        has_mlp_bias=False,
        windows=WindowPattern.LATE,
        defaults={"sliding_window": 4096, "max_window_layers": 28},
    ),
    "Qwen3ForCausalLM": DecoderFamily(
        has_qk_norm=True,
        has_mlp_bias=False,
        windows=WindowPattern.LATE,
        defaults={"sliding_window": 4096, "max_window_layers": 28},
    ),
    "Phi3ForCausalLM": DecoderFamily(
        has_qkv_bias=False,
        has_output_bias=False,
        has_mlp_bias=False,
        has_fused_projections=True,
        windows=WindowPattern.ALL,
        defaults={"rms_norm_eps": 1e-5, "original_max_position_embeddings": 4096},
    ),
    "Gemma2ForCausalLM": DecoderFamily(
        has_mlp_bias=False,
        has_output_norms=True,
        has_offset_norms=True,
        has_scaled_embedding=True,
        windows=WindowPattern.PERIODIC,
        defaults=_GEMMA_DEFAULTS
        | {
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "sliding_window_pattern": 2,
        },
    ),
    "Gemma3ForCausalLM": DecoderFamily(
        has_qk_norm=True,
        has_mlp_bias=False,
        has_output_norms=True,
        has_offset_norms=True,
        has_scaled_embedding=True,
        has_local_rope=True,
        windows=WindowPattern.PERIODIC,
        defaults=_GEMMA_DEFAULTS
        | {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6},
    ),
}
