"""What differs between the dense decoder families that one decoder serves.

A new family is an entry here, as long as it is built of the parts that `decoder` knows.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DecoderFamily:
    """The parts of an architecture that its config.json does not spell out.

    Biases: None means that `attention_bias` or `mlp_bias` in config.json decides.
    """

    has_qk_norm: bool = False
    has_qkv_bias: bool | None = None
    has_output_bias: bool | None = None
    has_mlp_bias: bool | None = None


FAMILIES = {
    "LlamaForCausalLM": DecoderFamily(),
    "MistralForCausalLM": DecoderFamily(
        has_qkv_bias=False, has_output_bias=False, has_mlp_bias=False
    ),
    "Qwen2ForCausalLM": DecoderFamily(has_qkv_bias=True, has_output_bias=False, has_mlp_bias=False),
    "Qwen3ForCausalLM": DecoderFamily(has_qk_norm=True, has_mlp_bias=False),
}
