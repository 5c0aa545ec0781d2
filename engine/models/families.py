"""What differs between the decoder families that one decoder serves.

A new family is an entry here, as long as it is built of the parts that `decoder` knows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from legato.kernels.routing_params import Scoring


class WindowPattern(Enum):
    """Which layers see no further than `sliding_window`, where config.json does not list them."""

    NONE = auto()  # none, and config.json may not ask for any
    ALL = auto()
    LATE = auto()  # from `max_window_layers` on, if `use_sliding_window` is set
    PERIODIC = auto()  # all but every `sliding_window_pattern`th
    # The following only if `use_sliding_window` is set, like LATE.
    ASKED_FOR = auto()  # all
    EARLY = auto()  # every second one of the first `max_window_layers`


@dataclass(frozen=True, slots=True)
class MoeFamily:
    """What config.json does not say of layers of experts, and what checkpoints call their parts.

    Attributes:
        module: of the router and of experts that have tensors of their own
        projections: the gate, up and down of one of them
        router: its module
        scoring: what makes scores of the router's logits
        has_correction: experts have a number that is added to their scores for the choice alone
        renormalizes: a token's weights add up to one; None: `norm_topk_prob` decides
        num_counted: experts whose scores make up that of their group, where there are groups
        shared_expert: the module of the expert that all tokens use
        has_shared_gate: what it adds is weighed by a gate
        has_biases: the router has them, and both products of experts
        has_clamped_gate: as ClampedGate says, instead of silu
        are_interleaved: checkpoints hold gate and up of all experts in one tensor, output by output
        quantizations: names of those that checkpoints of experts may have
    """

    module: str = "mlp"
    router: str = "gate"
    projections: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")
    scoring: Scoring = Scoring.SOFTMAX
    has_correction: bool = False
    renormalizes: bool | None = None
    num_counted: int = 1
    shared_expert: str | None = None
    has_shared_gate: bool = False
    has_biases: bool = False
    has_clamped_gate: bool = False
    are_interleaved: bool = False
    quantizations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DecoderFamily:
    """The parts of an architecture that its config.json does not spell out.

    Biases: None means that `attention_bias` or `mlp_bias` in config.json decides; the norm of
    queries and keys: `use_qk_norm`.

    Attributes:
        has_output_norms: what attention and MLP give is normed before it is added
        has_offset_norms: norm weights are stored as their distance from one
        has_scaled_embedding: by the root of the hidden size
        has_fused_projections: the checkpoint joins what reads the same input
        has_local_rope: layers with a window have a rope of their own
        has_sinks: heads have a score beside those of the keys
        has_latent_attention: a token's keys and values are made of one small vector for all heads
        moe: None: all layers are dense
        defaults: fields of config.json that mean something else than in other families, or
            nothing at all there, where the file lacks them
    """

    has_qk_norm: bool | None = False
    has_qkv_bias: bool | None = None
    has_output_bias: bool | None = None
    has_mlp_bias: bool | None = None
    has_output_norms: bool = False
    has_offset_norms: bool = False
    has_scaled_embedding: bool = False
    has_fused_projections: bool = False
    has_local_rope: bool = False
    has_sinks: bool = False
    has_latent_attention: bool = False
    windows: WindowPattern = WindowPattern.NONE
    moe: MoeFamily | None = None
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
    "MixtralForCausalLM": DecoderFamily(
        has_qkv_bias=False,
        has_output_bias=False,
        windows=WindowPattern.ALL,
        moe=MoeFamily(module="block_sparse_moe", projections=("w1", "w3", "w2"), renormalizes=True),
        defaults={"rms_norm_eps": 1e-5, "rope_theta": 1e6},
    ),
    "Qwen2MoeForCausalLM": DecoderFamily(
        has_output_bias=False,
        has_mlp_bias=False,
        windows=WindowPattern.EARLY,
        moe=MoeFamily(shared_expert="shared_expert", has_shared_gate=True),
        defaults={"qkv_bias": True, "sliding_window": 4096, "max_window_layers": 28},
    ),
    "Qwen3MoeForCausalLM": DecoderFamily(
        has_qk_norm=True,
        has_mlp_bias=False,
        windows=WindowPattern.ASKED_FOR,
        moe=MoeFamily(),
        defaults={"sliding_window": 4096},
    ),
    "Glm4MoeForCausalLM": DecoderFamily(
        has_qk_norm=None,
        has_output_bias=False,
        has_mlp_bias=False,
        moe=MoeFamily(
            scoring=Scoring.SIGMOID,
            has_correction=True,
            num_counted=2,
            shared_expert="shared_experts",
        ),
        defaults={
            "first_k_dense_replace": 1,
            "n_shared_experts": 1,
            "norm_topk_prob": True,
            "partial_rotary_factor": 0.5,
            "rms_norm_eps": 1e-5,
        },
    ),
    "DeepseekV2ForCausalLM": DecoderFamily(
        has_qkv_bias=False,
        has_output_bias=False,
        has_mlp_bias=False,
        has_latent_attention=True,
        moe=MoeFamily(renormalizes=False, shared_expert="shared_experts"),
        defaults={"topk_method": "greedy"},
    ),
    "DeepseekV3ForCausalLM": DecoderFamily(
        has_qkv_bias=False,
        has_output_bias=False,
        has_mlp_bias=False,
        has_latent_attention=True,
        moe=MoeFamily(
            scoring=Scoring.SIGMOID,
            has_correction=True,
            num_counted=2,
            shared_expert="shared_experts",
        ),
        defaults={"norm_topk_prob": True, "num_nextn_predict_layers": 1},
    ),
    "GptOssForCausalLM": DecoderFamily(
        has_sinks=True,
        windows=WindowPattern.PERIODIC,
        moe=MoeFamily(
            router="router",
            renormalizes=True,
            has_biases=True,
            has_clamped_gate=True,
            are_interleaved=True,
            quantizations=("mxfp4",),
        ),
        defaults={
            "attention_bias": True,
            "head_dim": 64,
            "rms_norm_eps": 1e-5,
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 32.0,
                "truncate": False,
                "original_max_position_embeddings": 4096,
            },
            "rope_theta": 150000.0,
            "sliding_window": 128,
            "sliding_window_pattern": 2,
            "torch_dtype": "bfloat16",
        },
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


def find_family(names: Iterable[object]) -> tuple[str, bool] | None:
    """Of the architectures that config.json lists, the family, and whether it comes with its head.

    A checkpoint without the head is a model's layers alone, as Qwen3Model: embedding models are.
    """
    for name in map(str, names):
        if name in FAMILIES:
            return name, True
        if (whole := name.removesuffix("Model") + "ForCausalLM") in FAMILIES:
            return whole, False
    return None
