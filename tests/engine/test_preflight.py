import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from legato.engine.builtin_model import builtin_model_directory
from legato.engine.config import EngineConfig
from legato.engine.errors import ConfigError
from legato.engine.preflight import check_model
from legato.tests.checkpoints import edit_json, make_checkpoint
from legato.tests.general_traps import GENERAL_TRAPS

# What `legato serve` does before it starts a process, with the modules that it imports for that.
PREFLIGHT = """
import sys
import legato.deployments.serving
from legato.engine.config import EngineConfig
from legato.engine.preflight import check_model

check_model(EngineConfig.from_options({"model": sys.argv[1], "device": "cpu"}))
print({"torch", "transformers"} & sys.modules.keys())
"""


def check(model: Path, **options: Any) -> None:
    check_model(EngineConfig.from_options({"model": str(model), "device": "cpu", **options}))


@pytest.fixture
def model(model_directory: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    for path in model_directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_model_that_can_be_served_passes(model_directory: Path) -> None:
    check(model_directory)


def test_it_needs_neither_torch_nor_transformers() -> None:
    command = [sys.executable, "-c", PREFLIGHT, str(builtin_model_directory())]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "set()\n"


def test_missing_weights_are_said_unless_they_are_not_wanted(model: Path) -> None:
    (model / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="holds no weights"):
        check(model)
    check(model, load_format="dummy")


def test_models_of_transformers_code_are_tried_before_anything_starts(tmp_path: Path) -> None:
    checkpoint = GENERAL_TRAPS["olmo2"].make(tmp_path)
    check(checkpoint, skip_tokenizer_init=True)
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="holds no weights"):
        check(checkpoint, skip_tokenizer_init=True)
    edit_json(checkpoint / "config.json", model_type="falcon", architectures=["FalconForCausalLM"])
    with pytest.raises(ConfigError, match="FalconForCausalLM cannot be served: its code has an"):
        check(checkpoint)


def test_a_broken_tokenizer_is_one_line_that_names_the_file(model: Path) -> None:
    (model / "tokenizer.json").write_text('{"model": 1}')
    with pytest.raises(ConfigError, match=r"from .*tokenizer\.json: ") as caught:
        check(model)
    assert "\n" not in str(caught.value)


def test_a_missing_tokenizer_is_said_unless_none_is_wanted(
    model_directory: Path, tmp_path: Path
) -> None:
    make_checkpoint(tmp_path, "llama")
    with pytest.raises(ConfigError, match=r"no tokenizer can be loaded .* no tokenizer\.json"):
        check(tmp_path)
    check(tmp_path, skip_tokenizer_init=True)
    check(tmp_path, tokenizer=str(model_directory))


def test_the_files_of_other_tokenizers_are_left_to_transformers(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, "llama")
    (tmp_path / "tokenizer.model").touch()
    check(tmp_path)


def test_a_kv_cache_that_the_host_cannot_hold_is_refused(model_directory: Path) -> None:
    with pytest.raises(ConfigError, match="does not fit"):
        check(model_directory, kv_cache_memory_bytes=1 << 60)
