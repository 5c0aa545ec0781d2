from pathlib import Path
from typing import Any

import pytest

from legato.engine.config import EngineConfig, ModelOptions
from legato.engine.errors import ConfigError
from legato.engine.model_plan import ModelPlan, choose_device, plan_model
from legato.tests.checkpoints import edit_json, make_checkpoint


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = make_checkpoint(tmp_path_factory.mktemp("llama"), "llama")
    edit_json(directory / "config.json", dtype="bfloat16")
    return directory


def plan(directory: Path, device_type: str = "cpu", **options: Any) -> ModelPlan:
    config = EngineConfig.from_options({"model": str(directory), **options})
    return plan_model(config, device_type)


def test_a_gpu_is_used_where_there_is_one_unless_the_cpu_is_asked_for() -> None:
    assert choose_device(ModelOptions(), has_gpu=True) == "cuda"
    assert choose_device(ModelOptions(), has_gpu=False) == "cpu"
    assert choose_device(ModelOptions(device="cpu"), has_gpu=True) == "cpu"
    with pytest.raises(ConfigError, match="--device cuda: no CUDA GPU is visible here"):
        choose_device(ModelOptions(device="cuda"), has_gpu=False)


def test_the_checkpoints_dtype_counts_on_a_gpu_alone_unless_one_is_given(directory: Path) -> None:
    assert plan(directory, "cuda").dtype == plan(directory, "cuda").kv_spec.dtype == "bfloat16"
    assert plan(directory, "cpu").dtype == plan(directory, "cpu").kv_spec.dtype == "float32"
    assert plan(directory, "cpu", dtype="float16").dtype == "float16"


def test_the_block_size_follows_from_the_device_unless_it_is_given(directory: Path) -> None:
    assert plan(directory, "cpu").kv_spec.block_size == 16
    assert plan(directory, "cuda").kv_spec.block_size == 64
    assert plan(directory, "cuda", block_size=32).kv_spec.block_size == 32


def test_max_model_len_must_not_exceed_the_models(directory: Path) -> None:
    assert plan(directory).max_model_len == 512
    assert plan(directory, max_model_len=100).max_model_len == 100
    with pytest.raises(ConfigError, match="513 is outside the model's 1 to 512"):
        plan(directory, max_model_len=513)
