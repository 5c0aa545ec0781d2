"""Text with calls in it, to text and calls.

TEXT ── opening marker, or an answer that begins like a call ──> SECTION
  ^─── closed: text goes on; broken: what was read is text ─────────┘
"""

from legato.deployments.openai.message.call_numbers import CallNumbers
from legato.deployments.openai.message.call_section import CallSection, Section, SectionState
from legato.deployments.openai.message.markers import TextRun, split_at_marker
from legato.deployments.openai.message.parts import Part, TextPart
from legato.deployments.openai.message.pythonic_section import PythonicSection
from legato.deployments.openai.message.tool_syntax import ToolSyntax


class ToolParser:
    """Follows one message.

    Args:
        streams: calls open before they are whole.
    """

    def __init__(self, syntax: ToolSyntax, calls: CallNumbers, streams: bool) -> None:
        self._syntax = syntax
        self._calls = calls
        self._streams = streams
        self._run = TextRun()
        self._section: Section | None = None
        self._may_be_bare = bool(syntax.bare_start)
        self._held = ""  # text that may be the beginning of a marker

    def feed(self, text: str) -> list[Part]:
        parts: list[Part] = []
        rest: str | None = text
        while rest is not None:
            rest = (
                self._read_text(rest, parts)
                if self._section is None
                else self._read_calls(self._section, rest, parts)
            )
        return parts

    def finish(self) -> list[Part]:
        """No more text comes: nothing is held back any more."""
        parts: list[Part] = []
        if self._section is not None:
            self._section.finish()
            if self._section.state is SectionState.BROKEN:
                self._show(self._section.shown + self._section.rest, parts)
        self._show(self._held, parts)
        if rest := self._run.rest():
            parts.append(TextPart(rest))
        return parts

    def _read_text(self, text: str, parts: list[Part]) -> str | None:
        """Shows text up to a section; returns what is to be read next, None if nothing is."""
        text, self._held = self._held + text, ""
        if self._may_be_bare:
            begun = text.lstrip()
            if not begun:
                self._held = text
                return None
            self._may_be_bare = False
            if begun.startswith(self._syntax.bare_start):
                self._open_section("")
                return begun
        before, marker, rest = split_at_marker(text, self._syntax.openings)
        self._show(before, parts)
        if marker is None:
            self._held = rest
            return None
        self._open_section(marker)
        return rest

    def _read_calls(self, section: Section, text: str, parts: list[Part]) -> str | None:
        calls = section.feed(text)
        if calls or section.state is SectionState.CLOSED:
            self._run = TextRun(trims_start=True)  # white space around calls means nothing
        parts += calls
        if section.state is SectionState.READING:
            return None
        self._section = None
        if section.state is SectionState.CLOSED:
            return section.rest
        self._show(section.shown, parts)
        return section.rest

    def _open_section(self, opening: str) -> None:
        if self._syntax.is_pythonic:
            self._section = PythonicSection(self._syntax, self._calls, opening)
        else:
            self._section = CallSection(self._syntax, self._calls, opening, self._streams)

    def _show(self, text: str, parts: list[Part]) -> None:
        if shown := self._run.push(text):
            parts.append(TextPart(shown))
