"""Directories of embedding models."""

import json
from pathlib import Path

import pytest

from legato.engine.errors import ConfigError
from legato.engine.models.sentence_embedding import read_pooling
from legato.engine.sampling_params import Pooling

FOLDERS = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}


def write(directory: Path, modes: dict[str, bool], **more: str) -> Path:
    modules = [
        {"idx": n, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (kind, path) in enumerate((FOLDERS | more).items())
    ]
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir()
    config = {"word_embedding_dimension": 32, "include_prompt": True, **modes}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(config))
    return directory


def test_a_model_without_modules_makes_no_embeddings(tmp_path: Path) -> None:
    assert read_pooling(tmp_path) is None


@pytest.mark.parametrize(
    ("mode", "pooling"),
    [("pooling_mode_lasttoken", Pooling.LAST), ("pooling_mode_mean_tokens", Pooling.MEAN)],
)
def test_the_pooling_is_the_one_that_the_model_was_trained_with(
    tmp_path: Path, mode: str, pooling: Pooling
) -> None:
    modes = {"pooling_mode_cls_token": False, mode: True}
    assert read_pooling(write(tmp_path, modes)) is pooling


def test_other_poolings_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, {"pooling_mode_cls_token": True})
    with pytest.raises(ConfigError, match="pooling_mode_cls_token is not supported"):
        read_pooling(tmp_path)


def test_layers_behind_the_pooling_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"pooling_mode_lasttoken": True}, Dense="2_Dense")
    with pytest.raises(ConfigError, match="Dense is not supported"):
        read_pooling(tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("{")
    with pytest.raises(ConfigError, match=r"modules\.json cannot be read"):
        read_pooling(tmp_path)
