"""Where a bracketed value ends in a text that grows. Brackets and strings count, nothing else does.

{"name": "f", "arguments": {"city": "Oslo"}} ...
                           ^ depth 1 -> 2   ^^ back to 1: the arguments end here
                                             ` back to 0: the object ends here
"""

import re

_STRUCTURE = re.compile(r"""["'\\{}\[\]()]""")
_OPENERS, _CLOSERS = "{[(", "}])"


class BracketExtent:
    """A scan that goes on where it stood when more text has come.

    Args:
        start: where the scan begins in the text.
        depth: how many brackets are open there.
        quotes: the characters that open and close strings; in strings nothing else counts.
    """

    def __init__(self, start: int = 0, depth: int = 0, quotes: str = '"') -> None:
        self.position = start
        self._depth = depth
        self._quotes = quotes
        self._quote: str | None = None  # of the string that the scan is in

    def advance(self, text: str, depth: int) -> bool:
        """Scans until the closing bracket that leaves `depth` brackets open; False: not there yet.

        `position` is then behind that bracket, or where the text ends. `text` begins as it did.
        """
        while match := _STRUCTURE.search(text, self.position):
            character = match[0]
            if character == "\\" and self._quote is not None:
                if match.end() == len(text):  # what it escapes has not come yet
                    self.position = match.start()
                    return False
                self.position = match.end() + 1
                continue
            self.position = match.end()
            if self._closes(character) and self._depth == depth:
                return True
        self.position = len(text)
        return False

    def _closes(self, character: str) -> bool:
        """Counts one character; whether it closed a bracket."""
        if self._quote is not None:
            if character == self._quote:
                self._quote = None
        elif character in self._quotes:
            self._quote = character
        elif character in _OPENERS:
            self._depth += 1
        elif character in _CLOSERS:
            self._depth -= 1
            return True
        return False
