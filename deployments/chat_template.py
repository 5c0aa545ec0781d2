"""The operator's own chat template, in place of the model's. Clients never bring one."""

from pathlib import Path

from legato.engine.errors import ConfigError


def read_chat_template(option: str | None) -> str | None:
    """The template that `--chat-template` names: a file's content, or the text itself.

    Raises:
        ConfigError: it is neither a file nor Jinja.
    """
    if option is None or "{%" in option or "{{" in option:
        return option
    path = Path(option).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--chat-template {option} is no Jinja text, nor a file: {error}"
        ) from None
