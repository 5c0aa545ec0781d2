from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from legato.engine.models.model_config import ModelConfig
from legato.engine.models.parameters import decoder_parameters
from legato.tests.checkpoints import Family, make_checkpoint


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_exactly_what_transformers_writes(
    tmp_path: Path, family: Family, tied: bool
) -> None:
    overrides: dict[str, Any] = {"sliding_window": None} if family == "mistral" else {}
    make_checkpoint(tmp_path, family, tie_word_embeddings=tied, **overrides)
    parameters = decoder_parameters(ModelConfig.load(tmp_path))
    described = {source.name: source.shape for p in parameters for source in p.sources}
    written = load_file(tmp_path / "model.safetensors")
    assert described == {name: tuple(tensor.shape) for name, tensor in written.items()}
