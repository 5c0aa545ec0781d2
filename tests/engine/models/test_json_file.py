from pathlib import Path

import pytest

from legato.engine.errors import ConfigError
from legato.engine.models.json_file import JsonFile


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "cannot be read"), (b"[1]", "holds no JSON object"), (b"\xff\xfe", "cannot be read")],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"config.json {message}"):
        JsonFile.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json is missing"):
        JsonFile.read(tmp_path / "config.json")


def test_null_counts_as_missing_and_numbers_convert_upwards_only() -> None:
    file = JsonFile(Path("x.json"), {"none": None, "whole": 3, "half": 0.5, "yes": True})
    assert file.get("none", int, 7) == 7
    assert file.get("whole", float) == 3.0
    assert file.get("yes", bool)
    for name, kind in (("half", int), ("yes", int), ("yes", float), ("none", int)):
        with pytest.raises(ConfigError, match=rf"x\.json.*{name}"):
            file.get(name, kind)
