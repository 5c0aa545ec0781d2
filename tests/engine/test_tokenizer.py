import json
from pathlib import Path

import pytest

from legato.engine.errors import ConfigError
from legato.engine.tokenizer import Tokenizer
from legato.tests.tools.make_random_model import TURN_END


def test_text_survives_the_way_to_ids_and_back(tokenizer: Tokenizer) -> None:
    text = "The pianist plays nine bars. Ünïcödé €😀"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_are_skipped_unless_asked_for(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode(f"a{TURN_END}")
    assert tokenizer.decode(token_ids) == "a"
    assert tokenizer.decode(token_ids, skip_special_tokens=False) == f"a{TURN_END}"


def test_a_directory_without_a_tokenizer_is_an_operators_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ConfigError, match="no tokenizer can be loaded from"):
        Tokenizer.load(str(tmp_path))


def test_a_broken_tokenizer_file_is_an_operators_error(
    model_directory: Path, tmp_path: Path
) -> None:
    for path in model_directory.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "tokenizer.json").write_text('{"version": ')
    with pytest.raises(ConfigError) as raised:
        Tokenizer.load(str(tmp_path))
    assert "\n" not in str(raised.value)


def test_a_tokenizer_that_brings_code_is_refused(model_directory: Path, tmp_path: Path) -> None:
    for path in model_directory.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "evil.py").write_text("raise SystemExit('code of the repository was run')")
    config = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ConfigError):
        Tokenizer.load(str(tmp_path))
