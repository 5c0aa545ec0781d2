"""Finds markers in a text that grows, and shows nothing of one that is only half there yet."""

from collections.abc import Sequence


def split_at_marker(text: str, markers: Sequence[str]) -> tuple[str, str | None, str]:
    """What stands before the first marker, the marker, and what follows it.

    Without a whole marker: the text that can be no part of one, None, and the end that may become
    one with more text.
    """
    found = [(start, marker) for marker in markers if (start := text.find(marker)) >= 0]
    if found:
        start, marker = min(found, key=lambda match: (match[0], -len(match[1])))
        return text[:start], marker, text[start + len(marker) :]
    num_held = max((_num_begun(text, marker) for marker in markers), default=0)
    end = len(text) - num_held
    return text[:end], None, text[end:]


def _num_begun(text: str, marker: str) -> int:
    """The length of the longest end of `text` that is a beginning of `marker`, not all of it."""
    start = max(0, len(text) - len(marker) + 1)
    while (start := text.find(marker[0], start)) >= 0:
        if marker.startswith(text[start:]):
            return len(text) - start
        start += 1
    return 0


class TextRun:
    """Text on its way to the client; white space at its end waits for what comes next.

    Args:
        trims_start: white space before the first text is dropped.
    """

    def __init__(self, trims_start: bool = False) -> None:
        self._trims_start = trims_start
        self._waiting = ""

    def push(self, text: str) -> str:
        """Takes more text; returns what may be shown."""
        text = self._waiting + text
        if self._trims_start:
            text = text.lstrip()
            self._trims_start = not text
        shown = text.rstrip()
        self._waiting = text[len(shown) :]
        return shown

    def rest(self) -> str:
        """The white space at the end, now that nothing follows it."""
        rest, self._waiting = self._waiting, ""
        return rest
