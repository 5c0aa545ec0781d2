"""The calls of one message: how many there are, and what they are called."""

import secrets
import string
from collections.abc import Set

from legato.deployments.openai.message.parts import CallArguments, CallOpened, Part

_LETTERS = string.ascii_letters + string.digits
_NUM_SHORT = 9


class CallNumbers:
    """Makes the parts of calls.

    Args:
        names: of the tools that the request offers.
        is_parallel: whether there may be more than one; further ones give no parts.
        has_short_ids: ids of nine characters, as templates of Mistral's want them back.
    """

    def __init__(self, names: Set[str], is_parallel: bool, has_short_ids: bool) -> None:
        self.count = 0
        self._names = names
        self._is_parallel = is_parallel
        self._has_short_ids = has_short_ids

    def knows(self, name: str) -> bool:
        return name in self._names

    def open(self, name: str) -> list[Part]:
        """The next call begins."""
        self.count += 1
        return [CallOpened(self.count - 1, self._new_id(), name)] if self._is_wanted() else []

    def add(self, arguments: str) -> list[Part]:
        """More of its arguments."""
        if not arguments or not self._is_wanted():
            return []
        return [CallArguments(self.count - 1, arguments)]

    def _is_wanted(self) -> bool:
        return self._is_parallel or self.count == 1

    def _new_id(self) -> str:
        if self._has_short_ids:
            return "".join(secrets.choice(_LETTERS) for _ in range(_NUM_SHORT))
        return f"call_{secrets.token_hex(12)}"
