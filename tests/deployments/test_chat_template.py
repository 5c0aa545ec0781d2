"""The operator's own chat template."""

from pathlib import Path

import pytest

from legato.deployments.chat_template import read_chat_template
from legato.engine.errors import ConfigError


def test_without_the_option_the_models_own_template_stays() -> None:
    assert read_chat_template(None) is None


def test_jinja_text_is_taken_as_it_stands() -> None:
    assert read_chat_template("{{ messages[0].content }}") == "{{ messages[0].content }}"


def test_anything_else_names_a_file(tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text("{% for m in messages %}{% endfor %}")
    template = read_chat_template(str(tmp_path / "chat.jinja"))
    assert template == "{% for m in messages %}{% endfor %}"


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"chat\.jinja is no Jinja text"):
        read_chat_template(str(tmp_path / "chat.jinja"))
