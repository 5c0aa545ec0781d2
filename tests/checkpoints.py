"""Small random checkpoints in Hugging Face layout, written by transformers itself."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

Family = Literal[
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "phi3",
    "gemma2",
    "gemma3",
    "glm4_moe",
    "gpt_oss",
    "deepseek_v2",
    "deepseek_v3",
]

_CLASSES: dict[Family, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "mixtral": (MixtralConfig, MixtralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen2_moe": (Qwen2MoeConfig, Qwen2MoeForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "qwen3_moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM),
    "phi3": (Phi3Config, Phi3ForCausalLM),
    "gemma2": (Gemma2Config, Gemma2ForCausalLM),
    "gemma3": (Gemma3TextConfig, Gemma3ForCausalLM),
    "glm4_moe": (Glm4MoeConfig, Glm4MoeForCausalLM),
    "gpt_oss": (GptOssConfig, GptOssForCausalLM),
    "deepseek_v2": (DeepseekV2Config, DeepseekV2ForCausalLM),
    "deepseek_v3": (DeepseekV3Config, DeepseekV3ForCausalLM),
}
_SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": [2, 3],
    "pad_token_id": 0,
}


def make_checkpoint(
    directory: Path,
    family: Family,
    *,
    seed: int = 0,
    max_shard_size: str = "5GB",
    **config_overrides: Any,
) -> Path:
    """Writes config, generation config and safetensors of a random float32 model.

    Weights are larger than usual at the start of training, so that wrong maths shows in the logits.

    Returns:
        `directory`
    """
    config_class, model_class = _CLASSES[family]
    sizes = dict(_SIZES)
    if family in ("qwen2", "qwen2_moe", "phi3", "deepseek_v2", "deepseek_v3"):
        del sizes["head_dim"]  # derived there
    if family == "deepseek_v2":
        sizes["num_experts_per_tok"] = 3
    config = config_class(initializer_range=0.2, **{**sizes, **config_overrides})
    model = random_model(partial(model_class, config), seed)
    model.save_pretrained(directory, max_shard_size=max_shard_size)
    return directory


def random_model(make: Callable[[], PreTrainedModel], seed: int) -> PreTrainedModel:
    """A model whose norms and biases are random as well."""
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = make()
    for name, parameter in model.named_parameters():
        if name.endswith(("norm.weight", "bias", ".sinks")):
            parameter.data.add_(torch.randn_like(parameter) * 0.2)
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.add_(torch.randn_like(buffer) * 0.2)
    torch.random.set_rng_state(generator_state)
    return model


def stack_experts(directory: Path, copy: Path) -> Path:
    """Writes the checkpoint as transformers computes it: a layer's experts are one tensor.

    Returns:
        `copy`
    """
    load_reference(directory).save_pretrained(copy, save_original_format=False)
    return copy


def load_reference(directory: Path) -> PreTrainedModel:
    """The same checkpoint as transformers computes it, float32 on the CPU."""
    config = json.loads((directory / "config.json").read_text())
    classes = {model_class.__name__: model_class for _, model_class in _CLASSES.values()}
    model_class = classes.get(config["architectures"][0], AutoModelForCausalLM)
    # Some versions would take torch's attention for models whose softcaps it does not know.
    model: PreTrainedModel = model_class.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    )
    model.eval()
    return model


@torch.inference_mode()
def greedy_tokens(reference: PreTrainedModel, prompt: list[int], count: int) -> list[int]:
    """The likeliest next `count` tokens as transformers computes them, past any EOS."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(reference(torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt) :]


def edit_json(path: Path, **changes: Any) -> None:
    """Sets fields of a JSON file; None removes one."""
    fields = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in fields.items() if value is not None}))
