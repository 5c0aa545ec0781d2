from pathlib import Path
from typing import Any

import pytest
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen2MoeConfig,
)

from legato.engine.errors import ConfigError
from legato.engine.models.families import FAMILIES
from legato.engine.models.json_file import JsonFile
from legato.engine.models.layer_attention import LayerAttention, read_layers


def read(architecture: str, **fields: Any) -> tuple[LayerAttention, ...]:
    family = FAMILIES[architecture]
    config = JsonFile(Path("config.json"), {"num_hidden_layers": 4, **fields})
    return read_layers(config.with_defaults(family.defaults), family, 64, max_context_len=8192)


def windows(architecture: str, **fields: Any) -> list[int | None]:
    return [layer.params.window for layer in read(architecture, **fields)]


@pytest.mark.parametrize(
    ("architecture", "config_class", "fields"),
    [
        ("Qwen2ForCausalLM", Qwen2Config, {"num_hidden_layers": 30}),
        ("Qwen2ForCausalLM", Qwen2Config, {"num_hidden_layers": 30, "use_sliding_window": True}),
        ("Qwen2ForCausalLM", Qwen2Config, {"use_sliding_window": True, "max_window_layers": 1}),
        ("Qwen2MoeForCausalLM", Qwen2MoeConfig, {"num_hidden_layers": 30}),
        ("Qwen2MoeForCausalLM", Qwen2MoeConfig, {"use_sliding_window": True}),
        (
            "Qwen2MoeForCausalLM",
            Qwen2MoeConfig,
            {"use_sliding_window": True, "max_window_layers": 2},
        ),
        ("Gemma2ForCausalLM", Gemma2Config, {"num_hidden_layers": 5}),
        ("Gemma2ForCausalLM", Gemma2Config, {"sliding_window": None}),
        ("Gemma3ForCausalLM", Gemma3TextConfig, {"num_hidden_layers": 13}),
        ("Gemma3ForCausalLM", Gemma3TextConfig, {"sliding_window_pattern": 3}),
    ],
)
def test_windows_are_where_transformers_has_them(
    architecture: str, config_class: type[PreTrainedConfig], fields: dict[str, Any]
) -> None:
    config = config_class(**{"num_hidden_layers": 4, **fields})
    of_types = {"full_attention": None, "sliding_attention": config.sliding_window}
    assert windows(architecture, **fields) == [of_types[name] for name in config.layer_types]


def test_layers_may_be_listed() -> None:
    types = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]
    listed = {"layer_types": types, "sliding_window": 100}
    assert windows("Gemma2ForCausalLM", **listed) == [100, None, None, 100]
    assert [layer.rope_index for layer in read("Gemma3ForCausalLM", **listed)] == [1, 0, 0, 1]
    assert [layer.rope_index for layer in read("Gemma2ForCausalLM", **listed)] == [0, 0, 0, 0]


def test_mistral_and_phi_have_windows_everywhere_or_nowhere() -> None:
    assert windows("MistralForCausalLM") == [4096] * 4
    assert windows("MistralForCausalLM", sliding_window=None) == [None] * 4
    assert windows("Phi3ForCausalLM") == [None] * 4
    assert windows("Phi3ForCausalLM", sliding_window=2047) == [2047] * 4


def test_qwens_experts_have_windows_everywhere_if_asked_for() -> None:
    assert windows("Qwen3MoeForCausalLM") == [None] * 4
    assert windows("Qwen3MoeForCausalLM", use_sliding_window=True) == [4096] * 4
    # As transformers writes the window of a model that has none.
    assert windows("Qwen2MoeForCausalLM", use_sliding_window=False, sliding_window=0) == [None] * 4


def test_a_window_as_long_as_the_context_is_none_but_the_rope_stays() -> None:
    layers = read("Gemma3ForCausalLM", sliding_window=8192)
    assert [layer.params.window for layer in layers] == [None] * 4
    assert [layer.rope_index for layer in layers] == [1] * 4
    assert windows("LlamaForCausalLM", sliding_window=8192) == [None] * 4


def test_scores_are_scaled_by_the_head_dim_unless_another_number_is_given() -> None:
    assert read("LlamaForCausalLM")[0].params.scale == 0.125
    assert read("Gemma2ForCausalLM", query_pre_attn_scalar=16)[0].params.scale == 0.25


@pytest.mark.parametrize(
    ("architecture", "fields", "message"),
    [
        ("LlamaForCausalLM", {"sliding_window": 8191}, "sliding_window 8191 is not supported"),
        ("MistralForCausalLM", {"sliding_window": 0}, "sliding_window must be at least 1, not 0"),
        (
            "Gemma2ForCausalLM",
            {"layer_types": ["full_attention"]},
            "layer_types lists 1 layers, not 4",
        ),
        (
            "Qwen2ForCausalLM",
            {"use_sliding_window": True, "layer_types": ["linear_attention"] * 4},
            "layer type linear_attention is not supported",
        ),
        ("Gemma3ForCausalLM", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ],
)
def test_what_is_not_supported_is_said(
    architecture: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read(architecture, **fields)
