"""One section of calls whose arguments are JSON, read while it is written.

    opening  call  filler  call  closing
             |
             between ──> {"name": "f", "arguments": {...}} ──> between
                    `──> f<separator>{...}               ──'
                    `──> closing: CLOSED                  anything else: BROKEN

In a stream a call opens as soon as its name is known, and its arguments follow as they come: what
is wrong with them later is for the client to find. Otherwise a call counts when it is whole, and
what is no call stays text.
"""

from enum import Enum
from typing import Protocol

from legato.deployments.openai.message.bracket_extent import BracketExtent
from legato.deployments.openai.message.call_numbers import CallNumbers
from legato.deployments.openai.message.parts import Part
from legato.deployments.openai.message.tool_syntax import ToolSyntax
from legato.deployments.openai.message.written_call import decoded, match_head, read_call

MAX_HEAD_CHARS = 512  # text that is no head by then will not become one


class SectionState(Enum):
    READING = "reading"
    CLOSED = "closed"  # `rest` follows the section
    BROKEN = "broken"  # `shown` and `rest` are text: they are no call


class Section(Protocol):
    """Takes the text behind an opening marker until it is no longer READING."""

    state: SectionState
    shown: str
    rest: str

    def feed(self, text: str) -> list[Part]:
        """Takes more text; gives the parts that it completes."""

    def finish(self) -> None:
        """No more text comes: what is left unread becomes `shown` and `rest`."""


class CallSection:
    """A Section.

    Args:
        opening: the marker that the section began with; "" for one without, in which only calls of
            tools that the request offers count.
        streams: a call opens before it is whole.
    """

    def __init__(self, syntax: ToolSyntax, calls: CallNumbers, opening: str, streams: bool) -> None:
        self.state = SectionState.READING
        self.shown = opening
        self.rest = ""
        self._head = syntax.head
        self._closing = syntax.closing
        marks = {syntax.closing, *syntax.fillers} - {""}
        self._marks = sorted(marks, key=len, reverse=True)
        self._calls = calls
        self._is_bare = not opening
        self._streams = streams
        self._text = ""  # from where the present call begins, or what may follow the last one
        self._call: _Call | None = None

    def feed(self, text: str) -> list[Part]:
        self._text += text
        parts: list[Part] = []
        while self.state is SectionState.READING and self._step(parts):
            pass
        return parts

    def finish(self) -> None:
        is_waste = any(mark.startswith(self._text) for mark in self._marks)
        is_sent = self._call is not None and self._call.is_open
        if is_sent or (is_waste and self._call is None):
            self._text = ""
        if self.state is SectionState.READING and self._text:
            self._break()

    def _step(self, parts: list[Part]) -> bool:
        """Reads on by one piece of the syntax; False if it has to wait for more text."""
        if self._call is not None:
            return self._read_call(self._call, parts)
        return self._read_between()

    def _read_between(self) -> bool:
        stripped = self._text.lstrip()
        self._skip(len(self._text) - len(stripped))
        if not stripped:
            return False
        for mark in self._marks:
            if stripped.startswith(mark):
                self._skip(len(mark))
                if mark == self._closing:
                    self.state, self.rest = SectionState.CLOSED, self._text
                return True
            if mark.startswith(stripped):
                return False
        return self._begin_call(stripped)

    def _begin_call(self, text: str) -> bool:
        if text.startswith("{"):
            self._call = _Call(depth=1)
            return True
        head = self._head.match(text) if self._head else None
        if head is not None:
            self._call = _Call(depth=0)
            self._call.name = next(filter(None, head.groups())).strip()
            self._call.seek(head.end())
            return True
        if self._head is None or len(text) > MAX_HEAD_CHARS:
            self._break()
        return False

    def _skip(self, num_chars: int) -> None:
        """Passes over what means nothing, and keeps it in case that no call follows."""
        if self.shown:
            self.shown += self._text[:num_chars]
        self._text = self._text[num_chars:]

    def _break(self) -> None:
        self.state, self.rest = SectionState.BROKEN, self._text

    def _read_call(self, call: "_Call", parts: list[Part]) -> bool:
        if self._streams and not call.is_open:
            self._open_early(call, parts)
        if call.is_open:
            parts += self._calls.add(call.more_arguments(self._text))
        if not call.is_whole(self._text):
            return False
        if not call.is_open and not self._take_whole(call, parts):
            self._break()
            return False
        self._text = self._text[call.end :]
        self._call, self.shown = None, ""
        return True

    def _open_early(self, call: "_Call", parts: list[Part]) -> None:
        if call.name is None and (head := match_head(self._text)) and self._counts(head[0]):
            call.name, start = head
            call.seek(start)
        if call.name is not None:
            parts += self._calls.open(call.name)
            call.is_open = True

    def _take_whole(self, call: "_Call", parts: list[Part]) -> bool:
        written = self._text[call.start : call.end]
        if call.name is not None:
            found = (call.name, written) if isinstance(decoded(written), dict) else None
        else:
            found = read_call(written)
            if found is not None and (head := match_head(written)):
                verbatim = BracketExtent(head[1])
                verbatim.advance(written, 0)
                found = head[0], written[head[1] : verbatim.position]
        if found is None or not self._counts(found[0]):
            return False
        parts += self._calls.open(found[0])
        parts += self._calls.add(found[1])
        return True

    def _counts(self, name: str) -> bool:
        return not self._is_bare or self._calls.knows(name)


class _Call:
    """The call that is being read.

    Args:
        depth: of brackets around its arguments.
    """

    def __init__(self, depth: int) -> None:
        self.name: str | None = None
        self.is_open = False
        self.start = 0  # of the call, or of its arguments once they are found
        self._depth = depth
        self._extent = BracketExtent()
        self._has_arguments = False  # all of them

    @property
    def end(self) -> int:
        return self._extent.position

    def seek(self, start: int) -> None:
        """The arguments begin at `start`."""
        self.start = start
        self._extent = BracketExtent(start, self._depth)

    def more_arguments(self, text: str) -> str:
        """What has come of the arguments since the last time."""
        if self._has_arguments:
            return ""
        self._has_arguments = self._extent.advance(text, self._depth)
        more, self.start = text[self.start : self._extent.position], self._extent.position
        return more

    def is_whole(self, text: str) -> bool:
        """Whether the bracket that ends it has come; `end` is behind it."""
        if self._has_arguments and self._depth == 0:
            return True
        if self.is_open and not self._has_arguments:
            return False
        return self._extent.advance(text, 0)
