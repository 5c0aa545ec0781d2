"""How the served model writes reasoning and calls: found in its chat template, or told by flags."""

from collections.abc import Mapping
from dataclasses import dataclass

from legato.deployments.openai.message.reasoning import THINK_TAGS, ThinkTags, tags_of_template
from legato.deployments.openai.message.tool_syntax import (
    TOOL_SYNTAXES,
    ToolSyntax,
    syntax_of_template,
)

NO_PARSER = "none"  # a flag's word for: even if the template shows one
TOOL_PARSERS = (NO_PARSER, *TOOL_SYNTAXES)
REASONING_PARSERS = (NO_PARSER, *THINK_TAGS)


@dataclass(frozen=True, slots=True)
class Dialect:
    """None: the model writes none, or nobody knows how."""

    tool_syntax: ToolSyntax | None = None
    think_tags: ThinkTags | None = None
    may_choose: bool = True  # the model may call tools of its own accord


def find_dialect(
    template: str | Mapping[str, str] | None,
    tool_parser: str | None,
    reasoning_parser: str | None,
    may_choose: bool = True,
) -> Dialect:
    """The dialect of a model.

    Args:
        template: its chat template, or several by name.
        tool_parser: one of TOOL_PARSERS; None: as the template shows.
        reasoning_parser: one of REASONING_PARSERS; None: as the template shows.
    """
    texts = template.values() if isinstance(template, Mapping) else (template or "",)
    text = "\n".join(texts)
    return Dialect(
        syntax_of_template(text) if tool_parser is None else TOOL_SYNTAXES.get(tool_parser),
        tags_of_template(text) if reasoning_parser is None else THINK_TAGS.get(reasoning_parser),
        may_choose,
    )
