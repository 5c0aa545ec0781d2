from pathlib import Path
from typing import get_args

import pytest
from safetensors.torch import load_file

from legato.engine.models.model_config import ModelConfig
from legato.engine.models.parameters import decoder_parameters
from legato.tests.checkpoints import Family, make_checkpoint


@pytest.mark.parametrize("family", get_args(Family))
@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_exactly_what_transformers_writes(
    tmp_path: Path, family: Family, tied: bool
) -> None:
    make_checkpoint(tmp_path, family, tie_word_embeddings=tied)
    parameters = decoder_parameters(ModelConfig.load(tmp_path))
    described = {source.name: source.shape for p in parameters for source in p.sources}
    written = load_file(tmp_path / "model.safetensors")
    assert described == {name: tuple(tensor.shape) for name, tensor in written.items()}


@pytest.mark.parametrize(("family", "offset"), [("qwen3", 0.0), ("gemma2", 1.0), ("gemma3", 1.0)])
def test_norms_and_nothing_else_may_be_stored_as_distances_from_one(
    tmp_path: Path, family: Family, offset: float
) -> None:
    parameters = decoder_parameters(ModelConfig.load(make_checkpoint(tmp_path, family)))
    offsets = {(p.name.endswith("norm"), p.offset) for p in parameters}
    assert offsets == {(True, offset), (False, 0.0)}
