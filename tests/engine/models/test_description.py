import logging
import sys
from pathlib import Path

import pytest

from legato.engine.errors import ConfigError
from legato.engine.models.description import describe_model, log_choice
from legato.engine.models.general_config import GeneralConfig
from legato.engine.models.model_config import ModelConfig
from legato.tests.checkpoints import edit_json, make_checkpoint
from legato.tests.engine.batches import build_runner, logits, part, random_tokens
from legato.tests.general_traps import GENERAL_TRAPS

REMOTE_CODE = """
from transformers import Qwen3Config, Qwen3ForCausalLM

class NovelConfig(Qwen3Config):
    model_type = "novel"

class NovelForCausalLM(Qwen3ForCausalLM):
    config_class = NovelConfig
"""


def test_known_families_are_the_decoders_and_others_transformers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    native = describe_model(make_checkpoint(tmp_path / "native", "llama"))
    general = describe_model(GENERAL_TRAPS["olmo2"].make(tmp_path / "general"))
    assert isinstance(native, ModelConfig)
    assert isinstance(general, GeneralConfig)
    with caplog.at_level(logging.INFO):
        log_choice(native)
        log_choice(general)
    ours = "legato.engine.models.description"
    assert [record.getMessage() for record in caplog.records if record.name == ours] == [
        "LlamaForCausalLM: served by the native decoder",
        "Olmo2ForCausalLM: served by transformers' code, with paged attention",
    ]


def test_code_among_a_models_files_runs_only_if_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where transformers copies code to, and imports it from.
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    checkpoint = make_checkpoint(tmp_path / "model", "qwen3")
    tokens = random_tokens(20)
    expected = logits(build_runner(checkpoint), part(tokens, 0, 20, [0, 1]))
    (checkpoint / "novel.py").write_text(REMOTE_CODE)
    edit_json(
        checkpoint / "config.json",
        model_type="novel",
        architectures=["NovelForCausalLM"],
        auto_map={
            "AutoConfig": "novel.NovelConfig",
            "AutoModelForCausalLM": "novel.NovelForCausalLM",
        },
    )
    with pytest.raises(ConfigError, match="give --trust-remote-code if you trust it"):
        describe_model(checkpoint)
    runner = build_runner(checkpoint, trust_remote_code=True)
    assert runner.model_config.architecture == "NovelForCausalLM"
    actual = logits(runner, part(tokens, 0, 20, [0, 1]))
    assert (actual - expected).abs().max() < 1e-4
