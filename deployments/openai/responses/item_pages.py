"""Lists of items in pages, as GET /v1/responses/{id}/input_items gives them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from legato.deployments.openai.responses.items import Item
from legato.engine.errors import InvalidRequestError

MAX_LIMIT = 100
_DEFAULT_LIMIT = "20"


class ItemPage(msgspec.Struct, frozen=True, tag_field="object", tag="list"):
    data: tuple[Item, ...]
    first_id: str
    last_id: str
    has_more: bool


@dataclass(frozen=True, slots=True)
class PageQuery:
    limit: int
    is_descending: bool  # from the newest item to the oldest
    after: str | None  # the id of the item before the first

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "PageQuery":
        """Raises InvalidRequestError for a limit or an order that is none."""
        limit = query.get("limit", _DEFAULT_LIMIT)
        if not limit.isdecimal() or len(limit) > 9 or not 1 <= int(limit) <= MAX_LIMIT:
            raise InvalidRequestError(f"must be an integer from 1 to {MAX_LIMIT}", "limit")
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise InvalidRequestError("must be 'asc' or 'desc'", "order")
        return cls(int(limit), order == "desc", query.get("after"))


def page_of(items: Sequence[Item], query: PageQuery) -> ItemPage:
    """Raises InvalidRequestError if there is no item to be after."""
    ordered = tuple(reversed(items)) if query.is_descending else tuple(items)
    start = 0
    if query.after is not None:
        ids = [item.id for item in ordered]
        if query.after not in ids:
            raise InvalidRequestError("there is no such item", "after")
        start = ids.index(query.after) + 1
    data = ordered[start : start + query.limit]
    return ItemPage(
        data,
        data[0].id if data else "",
        data[-1].id if data else "",
        start + query.limit < len(ordered),
    )
