import json
from pathlib import Path
from typing import Any

import pytest

from legato.engine.errors import ConfigError
from legato.engine.models.model_config import ModelConfig
from legato.kernels.activation_kind import Activation
from legato.tests.checkpoints import edit_json, make_checkpoint


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture
def directory(original: Path, tmp_path: Path) -> Path:
    for path in original.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def load(directory: Path, **changes: Any) -> ModelConfig:
    edit_json(directory / "config.json", **changes)
    return ModelConfig.load(directory)


def test_sizes_and_ids_are_read(directory: Path) -> None:
    config = load(directory)
    assert (config.num_layers, config.num_heads, config.num_kv_heads) == (2, 4, 2)
    assert (config.vocab_size, config.hidden_size, config.head_dim) == (97, 32, 16)
    assert config.eos_token_ids == (2, 3)
    assert config.max_context_len == 512
    assert config.activation is Activation.SILU
    assert config.windows == (None,)


def test_old_names_mean_the_same_as_new_ones(directory: Path) -> None:
    new = load(directory, rope_parameters={"rope_type": "linear", "rope_theta": 5e5, "factor": 2})
    old = load(
        directory,
        rope_parameters=None,
        dtype=None,
        rope_theta=500000,
        rope_scaling={"type": "linear", "factor": 2.0},
        torch_dtype="float32",
    )
    assert old == new
    assert old.ropes[0].theta == 500000
    assert old.max_context_len == 1024


def test_head_dim_follows_from_the_hidden_size(directory: Path) -> None:
    assert load(directory, head_dim=None).head_dim == 8


def test_the_checkpoints_dtype_is_kept(directory: Path) -> None:
    assert load(directory, dtype="bfloat16").dtype == "bfloat16"


def test_generation_config_comes_first_for_eos_and_gives_sampling_defaults(directory: Path) -> None:
    path = directory / "generation_config.json"
    path.write_text('{"eos_token_id": 9, "temperature": 0.6, "top_k": 20, "do_sample": true}')
    config = ModelConfig.load(directory)
    assert config.eos_token_ids == (9,)
    assert config.sampling_defaults == {"temperature": 0.6, "top_k": 20}
    path.unlink()
    assert ModelConfig.load(directory).eos_token_ids == (2, 3)


def test_what_a_file_lacks_is_what_the_family_has(directory: Path) -> None:
    removed = dict.fromkeys(("tie_word_embeddings", "head_dim", "hidden_act"))
    config = load(directory, architectures=["Gemma2ForCausalLM"], **removed)
    assert config.has_tied_embeddings
    assert config.head_dim == 256
    assert config.activation is Activation.GELU_TANH
    assert config.logit_softcap == 30.0
    assert config.layers[0].params.softcap == 50.0
    assert config.layers[0].params.scale == 256**-0.5


def test_some_families_say_by_other_names_what_attention_has(directory: Path) -> None:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "shared_expert_intermediate_size": 8}
    qwen: dict[str, Any] = {"architectures": ["Qwen2MoeForCausalLM"], **experts}
    assert load(directory, **qwen).has_qkv_bias
    assert not load(directory, **qwen, qkv_bias=False).has_qkv_bias
    glm: dict[str, Any] = {"architectures": ["Glm4MoeForCausalLM"], **experts, "qkv_bias": None}
    assert not load(directory, **glm).has_qk_norm
    assert load(directory, **glm, use_qk_norm=True).has_qk_norm


def test_a_softcap_that_is_null_is_none(directory: Path) -> None:
    path = directory / "config.json"
    nulls = dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping"))
    fields = json.loads(path.read_text()) | {"architectures": ["Gemma2ForCausalLM"]} | nulls
    path.write_text(json.dumps(fields))
    config = ModelConfig.load(directory)
    assert config.logit_softcap is config.layers[0].params.softcap is None


def test_ropes_of_two_kinds_have_their_stretching_in_the_context_length(directory: Path) -> None:
    linear = {"rope_type": "linear", "factor": 8.0}
    changes = {"architectures": ["Gemma3ForCausalLM"], "rope_parameters": None}
    config = load(directory, rope_scaling=linear, **changes)
    assert [rope.theta for rope in config.ropes] == [1e6, 1e4]
    assert config.max_context_len == 512


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architectures": ["MambaForCausalLM"]},
            "MambaForCausalLM is not supported; supp",
        ),
        ({"architectures": None}, "architecture none is not supported"),
        ({"hidden_size": None}, "lacks the field hidden_size"),
        ({"hidden_size": "big"}, "hidden_size is no int but 'big'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be at least 1, not 0"),
        ({"num_key_value_heads": 3}, "no multiple of num_key_value_heads 3"),
        ({"head_dim": 7}, "head_dim 7 is odd"),
        ({"hidden_act": "gelu"}, "hidden_act gelu is not supported"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention is not supported"),
        ({"quantization_config": {"bits": 4}}, "quantized weights are not supported"),
        ({"sliding_window": 128}, "sliding_window 128 is not supported"),
        ({"dtype": "int8"}, "dtype int8 is not supported"),
        ({"eos_token_id": ["</s>"]}, "eos_token_id is neither a number nor a list"),
    ],
)
def test_what_cannot_be_served_is_one_line_that_names_the_file(
    directory: Path, changes: dict[str, Any], message: str
) -> None:
    if "eos_token_id" in changes:
        (directory / "generation_config.json").unlink()
    with pytest.raises(ConfigError, match=message) as caught:
        load(directory, **changes)
    assert "config.json" in str(caught.value)
    assert "\n" not in str(caught.value)
