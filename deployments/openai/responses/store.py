"""Responses that were asked to be kept, in this process's memory.

    owner ──> shelf: response, response, ...   oldest first; each with the whole conversation
                └──> item id ──> item          for references

An owner is what an API key, or a user behind it, identifies: nobody finds another's responses, and
who keeps little is pushed out by nobody. Conversations share their items, so a response outlives
those before it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from legato.deployments.openai.responses.event_log import EventLog
from legato.deployments.openai.responses.items import Item
from legato.deployments.openai.responses.response_object import ResponseObject


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What is kept for each owner; what is beyond it goes, the oldest first.

    Attributes:
        max_responses: 0: nothing is kept
        max_bytes: what conversations share is counted in each
        max_total_bytes: of all owners; beyond it whoever has most loses
    """

    max_responses: int = 1000
    max_bytes: int = 256 << 20
    max_total_bytes: int = 1 << 30
    max_age_s: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class StoredResponse:
    response: ResponseObject
    input_items: tuple[Item, ...]  # of the whole conversation, without instructions
    num_earlier_items: int  # of these, that came with the responses before
    num_item_bytes: int  # of the conversation, this answer included
    num_bytes: int  # of all
    log: EventLog | None = None

    @property
    def items(self) -> tuple[Item, ...]:
        """The conversation, this answer included."""
        return (*self.input_items, *self.response.output)

    @property
    def own_items(self) -> tuple[Item, ...]:
        """What this response has added to the conversation."""
        return self.items[self.num_earlier_items :]


class _Shelf:
    """One owner's responses."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self.responses: dict[str, tuple[StoredResponse, float]] = {}  # and when they expire
        self.items: dict[str, Item] = {}

    def put(self, stored: StoredResponse, expires_s: float) -> None:
        self.responses[stored.response.id] = (stored, expires_s)
        self.items |= {item.id: item for item in stored.own_items}
        self.num_bytes += stored.num_bytes

    def pop(self, response_id: str) -> StoredResponse:
        stored, _ = self.responses.pop(response_id)
        for item in stored.own_items:
            if self.items.get(item.id) is item:
                del self.items[item.id]
        self.num_bytes -= stored.num_bytes
        return stored

    def oldest(self) -> tuple[str, float]:
        """Its id, and when it expires."""
        response_id, (_, expires_s) = next(iter(self.responses.items()))
        return response_id, expires_s


class ResponseStore:
    """All owners' shelves.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(
        self, limits: StoreLimits | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits or StoreLimits()
        self._clock = clock
        self._shelves: dict[bytes, _Shelf] = {}

    @property
    def keeps(self) -> bool:
        """Whether anything is kept at all."""
        return self.limits.max_responses > 0

    def put(self, owner: bytes, stored: StoredResponse) -> None:
        if not self.keeps:
            return
        shelf = self._shelves.setdefault(owner, _Shelf())
        shelf.put(stored, self._clock() + self.limits.max_age_s)
        self._trim_all()

    def get(self, owner: bytes, response_id: str) -> StoredResponse | None:
        shelf = self._shelf_of(owner)
        found = shelf.responses.get(response_id)
        return found[0] if found is not None else None

    def remove(self, owner: bytes, response_id: str) -> bool:
        """Whether it was there."""
        shelf = self._shelf_of(owner)
        if response_id not in shelf.responses:
            return False
        shelf.pop(response_id)
        return True

    def find_item(self, owner: bytes, item_id: str) -> Item | None:
        """An item of a response that is kept."""
        return self._shelf_of(owner).items.get(item_id)

    def _shelf_of(self, owner: bytes) -> _Shelf:
        shelf = self._shelves.get(owner)
        if shelf is None:
            return _Shelf()
        self._trim(shelf)
        return shelf

    def _trim_all(self) -> None:
        for shelf in self._shelves.values():
            self._trim(shelf)
        total = sum(shelf.num_bytes for shelf in self._shelves.values())
        while total > self.limits.max_total_bytes:
            largest = max(self._shelves.values(), key=lambda shelf: shelf.num_bytes)
            total -= largest.pop(largest.oldest()[0]).num_bytes
        for owner in [owner for owner, shelf in self._shelves.items() if not shelf.responses]:
            del self._shelves[owner]

    def _trim(self, shelf: _Shelf) -> None:
        now_s = self._clock()
        while shelf.responses:
            response_id, expires_s = shelf.oldest()
            is_over = (
                len(shelf.responses) > self.limits.max_responses
                or shelf.num_bytes > self.limits.max_bytes
            )
            if not is_over and now_s < expires_s:
                return
            shelf.pop(response_id)
