"""One section of calls that are written as a list of Python calls: `[f(city="Oslo"), g()]`.

It is parsed and never run: names, keywords and literals are all that a call may be made of.
"""

import ast
import re

import msgspec

from legato.deployments.openai.message.bracket_extent import BracketExtent
from legato.deployments.openai.message.call_numbers import CallNumbers
from legato.deployments.openai.message.call_section import SectionState
from legato.deployments.openai.message.parts import Part
from legato.deployments.openai.message.tool_syntax import ToolSyntax

MAX_CHARS = 1 << 16  # of a list of calls; a longer one stays text
# A list of calls as far as its first bracket of arguments, or less of it.
_HEAD = re.compile(r"\s*(?:\[\s*(?:[A-Za-z_][\w.]*\s*(?P<arguments>\()?)?)?")
_JSON_NAMES = {"true": True, "false": False, "null": None}


class PythonicSection:
    """A Section; its calls come all at once, when the list is closed.

    Args:
        opening: the marker that the section began with; "" for one without, in which only calls of
            tools that the request offers count.
    """

    def __init__(self, syntax: ToolSyntax, calls: CallNumbers, opening: str) -> None:
        self.state = SectionState.READING
        self.shown = opening
        self.rest = ""
        self._closing = syntax.closing
        self._calls = calls
        self._is_bare = not opening
        self._text = ""
        self._is_read = False  # all calls: only the closing marker may follow
        self._extent = BracketExtent(quotes="\"'")

    def feed(self, text: str) -> list[Part]:
        self._text += text
        if self._is_read:
            self._close()
            return []
        head = _HEAD.match(self._text)
        is_begun = head is not None and (head["arguments"] or head.end() == len(self._text))
        if not is_begun or len(self._text) > MAX_CHARS:
            self.finish()
            return []
        if not self._extent.advance(self._text, 0):
            return []
        written, rest = self._text[: self._extent.position], self._text[self._extent.position :]
        found = parse_calls(written.strip())
        if not found or (self._is_bare and not all(self._calls.knows(name) for name, _ in found)):
            self.finish()
            return []
        self._is_read, self._text = True, rest
        self._close()
        return [
            part
            for name, arguments in found
            for part in (*self._calls.open(name), *self._calls.add(arguments))
        ]

    def finish(self) -> None:
        if not self._is_read:
            self.state, self.rest = SectionState.BROKEN, self._text

    def _close(self) -> None:
        """Ends the section, unless its closing marker may still come."""
        text = self._text.lstrip()
        if text.startswith(self._closing) or not self._closing.startswith(text):
            self.state, self.rest = SectionState.CLOSED, text.removeprefix(self._closing)


def parse_calls(text: str) -> list[tuple[str, str]] | None:
    """Name and arguments (JSON text) of each call of a list; None if it is anything else."""
    try:
        tree = ast.parse(text, mode="eval").body
        if not isinstance(tree, ast.List):
            return None
        return [_read_call(node) for node in tree.elts]
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return None


def _read_call(node: ast.expr) -> tuple[str, str]:
    """Raises ValueError or TypeError for what is no call with literal keywords."""
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("no call by keywords")
    if any(keyword.arg is None for keyword in node.keywords):
        raise ValueError("no keyword")
    arguments = {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    return ast.unparse(node.func), msgspec.json.encode(arguments).decode()


def _literal(node: ast.expr) -> object:
    if isinstance(node, ast.Name) and node.id in _JSON_NAMES:
        return _JSON_NAMES[node.id]
    if isinstance(node, ast.List):
        return [_literal(element) for element in node.elts]
    if isinstance(node, ast.Dict):
        return {
            ast.literal_eval(key): _literal(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        }
    value: object = ast.literal_eval(node)
    return value
