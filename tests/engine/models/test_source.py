from pathlib import Path

import pytest

from legato.engine.errors import ConfigError
from legato.engine.models.source import resolve_model_directory


def test_a_directory_is_taken_as_it_stands(tmp_path: Path) -> None:
    assert resolve_model_directory(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("model", ["", "/no/such/model", "./missing", "missing", "a/b/c"])
def test_what_is_neither_directory_nor_hub_id_is_refused_at_once(model: str) -> None:
    with pytest.raises(ConfigError, match=r"no model given|does not exist"):
        resolve_model_directory(model)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "weights.gguf"
    path.touch()
    with pytest.raises(ConfigError, match="is a file"):
        resolve_model_directory(str(path))
