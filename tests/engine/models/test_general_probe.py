"""What a run without weights finds out, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from legato.engine.errors import ConfigError
from legato.engine.models.general_config import GeneralConfig
from legato.engine.models.general_probe import probe_model
from legato.tests.checkpoints import edit_json
from legato.tests.general_traps import GENERAL_TRAPS


def probe(directory: Path) -> GeneralConfig:
    return probe_model(directory, trusts_code=False)


def write_config(directory: Path, model_type: str, architecture: str, **fields: Any) -> Path:
    """A model's config.json, as large as transformers has it by default."""
    config = AutoConfig.for_model(model_type, **{"num_hidden_layers": 4, **fields})
    config.save_pretrained(directory)
    edit_json(directory / "config.json", architectures=[architecture])
    return directory


def test_sizes_are_those_of_what_attention_is_given(tmp_path: Path) -> None:
    config = probe(GENERAL_TRAPS["minicpm3"].make(tmp_path))
    assert (config.num_heads, config.num_kv_heads, config.head_dim) == (6, 6, 24)
    assert (config.hidden_size, config.vocab_size, config.num_layers) == (36, 97, 3)
    assert (config.max_context_len, config.eos_token_ids) == (512, (2, 3))
    assert config.for_length(64).rope_len == 64


def test_windows_and_scales_are_read_layer_by_layer(tmp_path: Path) -> None:
    config = probe(GENERAL_TRAPS["cohere2"].make(tmp_path))
    assert [layer.window for layer in config.layers] == [7, 7, 7, None, 7]
    assert config.windows == (7, None)
    assert {layer.scale for layer in config.layers} == {10**-0.5}


def test_a_window_that_the_code_keeps_to_its_mask_is_found(tmp_path: Path) -> None:
    write_config(tmp_path, "qwen2_moe", "Qwen2MoeForCausalLM", use_sliding_window=True)
    edit_json(tmp_path / "config.json", sliding_window=77, layer_types=["sliding_attention"] * 4)
    assert probe(tmp_path).windows == (77,)


def test_a_window_as_long_as_the_longest_sequence_is_none(tmp_path: Path) -> None:
    checkpoint = GENERAL_TRAPS["starcoder2"].make(tmp_path)
    edit_json(checkpoint / "config.json", sliding_window=512)
    assert probe(checkpoint).windows == (None,)


@pytest.mark.parametrize(
    ("model_type", "architecture", "reason"),
    [
        ("t5", "T5ForConditionalGeneration", "it has an encoder; models that are decoders"),
        ("mamba", "MambaForCausalLM", "it has layers of type linear_attention"),
        ("qwen3_next", "Qwen3NextForCausalLM", "it has layers of type linear_attention"),
        ("llama4_text", "Llama4ForCausalLM", "it has layers of type chunked_attention"),
        ("zaya", "ZayaForCausalLM", "it has layers of type hybrid"),
        ("falcon", "FalconForCausalLM", "its code has an attention of its own"),
        ("bloom", "BloomForCausalLM", "its config names no max_position"),
        ("bert", "BertLMHeadModel", "its attention "),
        ("diffllama", "DiffLlamaForCausalLM", r"4 layers do not attend once each.* \(8 calls\)"),
        ("gemma4_text", "Gemma4ForCausalLM", "heads of different numbers or sizes"),
        ("llama", "LlamaForSequenceClassification", "it is no LlamaForCausalLM"),
        ("clip", "CLIPModel", "transformers says: Unrecognized configuration class"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_reason(
    tmp_path: Path, model_type: str, architecture: str, reason: str
) -> None:
    write_config(tmp_path, model_type, architecture)
    with pytest.raises(ConfigError, match=f"{architecture} cannot be served: .*({reason})"):
        probe(tmp_path)


def test_a_rope_that_turns_stored_keys_anew_is_refused(tmp_path: Path) -> None:
    checkpoint = GENERAL_TRAPS["glm4"].make(tmp_path)
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    edit_json(checkpoint / "config.json", rope_parameters=rope)
    with pytest.raises(ConfigError, match=r"a dynamic rope .* with yarn or linear scaling"):
        probe(checkpoint)


def test_quantized_checkpoints_and_unknown_types_are_refused(tmp_path: Path) -> None:
    checkpoint = GENERAL_TRAPS["olmo2"].make(tmp_path)
    edit_json(checkpoint / "config.json", model_type="novelty")
    with pytest.raises(ConfigError, match=r"transformers says: .*novelty"):
        probe(checkpoint)
    edit_json(checkpoint / "config.json", quantization_config={"quant_method": "gptq"})
    with pytest.raises(
        ConfigError, match="quantized by gptq are not supported like this; serve the"
    ):
        probe(checkpoint)


def test_code_that_comes_with_the_files_needs_trust(tmp_path: Path) -> None:
    checkpoint = GENERAL_TRAPS["olmo2"].make(tmp_path)
    code = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    edit_json(checkpoint / "config.json", model_type="novelty", auto_map=code)
    with pytest.raises(ConfigError, match="read that, and give --trust-remote-code"):
        probe(checkpoint)
