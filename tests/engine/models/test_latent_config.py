from pathlib import Path

import pytest

from legato.engine.errors import ConfigError
from legato.engine.models.json_file import JsonFile
from legato.engine.models.latent_config import LatentConfig, read_latent
from legato.engine.models.model_config import ModelConfig
from legato.tests.benchmarks.model_shapes import SHAPES, write_config
from legato.tests.checkpoints import edit_json

SIZES = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 96}


def read(**changes: object) -> LatentConfig:
    return read_latent(JsonFile(Path("config.json"), SIZES | changes))


def test_a_token_leaves_its_latent_and_what_turns() -> None:
    latent = read(q_lora_rank=1536)
    assert (latent.query_rank, latent.key_dim, latent.stored_dim) == (1536, 192, 576)
    assert latent.has_pairs


def test_queries_need_no_rank() -> None:
    assert read(q_lora_rank=None).query_rank is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attention_bias": True}, "attention_bias"),
        ({"qk_rope_head_dim": 7}, "odd"),
        ({"kv_lora_rank": None}, "kv_lora_rank"),
    ],
)
def test_what_is_not_supported_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        read(**changes)


def test_the_published_files_of_the_small_model_are_understood(tmp_path: Path) -> None:
    config = ModelConfig.load(write_config(tmp_path, SHAPES["deepseek-v2-lite"]))
    assert (config.num_kv_heads, config.head_dim, config.rotated_dim) == (1, 576, 64)
    assert config.moe is not None and config.moe.routing.groups is None
    # Scores grow with the length that the rope is stretched to.
    assert config.layers[0].params.scale == pytest.approx(192**-0.5 * 1.26080**2, rel=1e-4)
    assert config.ropes[0].attention_factor == 1.0
    assert config.max_context_len == 163840


def test_layers_of_experts_at_intervals_are_refused(tmp_path: Path) -> None:
    directory = write_config(tmp_path, SHAPES["deepseek-v2-lite"])
    edit_json(directory / "config.json", moe_layer_freq=2)
    with pytest.raises(ConfigError, match="moe_layer_freq"):
        ModelConfig.load(directory)
