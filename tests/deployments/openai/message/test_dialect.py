"""Which parsers a model gets: by its chat template, or by the operator's word."""

import pytest

from legato.deployments.openai.message.dialect import (
    REASONING_PARSERS,
    TOOL_PARSERS,
    Dialect,
    find_dialect,
)
from legato.deployments.openai.message.reasoning import THINK_TAGS
from legato.deployments.openai.message.tool_syntax import (
    DEEPSEEK,
    HERMES,
    LLAMA3_JSON,
    MISTRAL,
    PYTHONIC,
    ToolSyntax,
)
from legato.engine.builtin_model import builtin_model_directory


@pytest.mark.parametrize(
    ("template", "syntax"),
    [
        ("return them within <tool_call></tool_call>: {{ tools }}", HERMES),
        ("{{ '[TOOL_CALLS]' + call }}", MISTRAL),
        (
            "{{ '<|tool▁calls▁begin|>' }}".replace("|t", "\uff5ct").replace("n|", "n\uff5c"),
            DEEPSEEK,
        ),
        ('Respond as {"name": function name, "parameters": dictionary of values}.', LLAMA3_JSON),
        ("{{ '<|python_tag|>' }}", LLAMA3_JSON),
        ("{{ '<|python_start|>[' }}", PYTHONIC),
        ("<tool_call>\n<function=example>", None),
        ("<tool_call>{name}\n<arg_key>", None),
        ("{{ messages }}", None),
        (None, None),
    ],
)
def test_a_chat_template_shows_how_calls_are_written(
    template: str | None, syntax: ToolSyntax | None
) -> None:
    assert find_dialect(template, None, None).tool_syntax == syntax


def test_the_built_in_model_writes_hermes_calls_and_no_thoughts() -> None:
    template = (builtin_model_directory() / "chat_template.jinja").read_text()
    assert find_dialect(template, None, None) == Dialect(HERMES, None)


def test_the_operators_word_goes_before_the_template() -> None:
    template = "<tool_call> </think>"
    assert find_dialect(template, "mistral", "seed_oss") == Dialect(MISTRAL, THINK_TAGS["seed_oss"])
    assert find_dialect(template, "none", "none", may_choose=False) == Dialect(may_choose=False)


def test_of_several_templates_one_that_shows_it_is_enough() -> None:
    assert find_dialect({"default": "{{ a }}", "tool_use": "<tool_call>"}, None, None) == Dialect(
        HERMES
    )


def test_every_parser_has_a_name_that_the_flags_take() -> None:
    for name in TOOL_PARSERS:
        assert (find_dialect(None, name, None).tool_syntax is None) == (name == "none")
    for name in REASONING_PARSERS:
        assert (find_dialect(None, None, name).think_tags is None) == (name == "none")
