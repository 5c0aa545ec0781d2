"""One section of calls, from its opening to its end."""

import pytest

from legato.deployments.openai.message.call_numbers import CallNumbers
from legato.deployments.openai.message.call_section import (
    MAX_HEAD_CHARS,
    CallSection,
    SectionState,
)
from legato.deployments.openai.message.tool_syntax import HERMES, MISTRAL, ToolSyntax

CALL = '{"name": "add", "arguments": {"a": 1}}'


def _section(syntax: ToolSyntax = HERMES, streams: bool = False) -> CallSection:
    calls = CallNumbers({"add"}, is_parallel=True, has_short_ids=False)
    return CallSection(syntax, calls, syntax.openings[0], streams)


@pytest.mark.parametrize("streams", [True, False])
def test_a_closed_section_hands_back_what_follows_it(streams: bool) -> None:
    section = _section(streams=streams)
    assert len(section.feed(f"\n{CALL}\n</tool_call> rest")) == 2
    assert (section.state, section.rest) == (SectionState.CLOSED, " rest")


def test_a_call_opens_early_in_a_stream_only() -> None:
    begun = CALL[:-4]
    assert len(_section(streams=True).feed(begun)) == 2
    assert _section(streams=False).feed(begun) == []


def test_a_broken_section_hands_back_all_of_it() -> None:
    section = _section()
    assert section.feed("\n{} ") == []
    assert section.state is SectionState.BROKEN
    assert section.shown + section.rest == "<tool_call>\n{} "


def test_what_breaks_behind_a_call_is_text_without_the_call() -> None:
    section = _section()
    assert len(section.feed(f"{CALL} oops")) == 2
    assert (section.state, section.shown, section.rest) == (SectionState.BROKEN, "", "oops")


def test_half_a_closing_marker_at_the_end_means_nothing() -> None:
    section = _section()
    section.feed(f"{CALL}\n</tool_")
    section.finish()
    assert section.state is SectionState.READING


def test_a_name_that_never_ends_is_none() -> None:
    section = _section(MISTRAL)
    section.feed("x" * (MAX_HEAD_CHARS + 1))
    assert section.state is SectionState.BROKEN
