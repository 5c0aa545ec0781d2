"""Lists in pages."""

from typing import Any

import pytest

from legato.deployments.openai.responses.item_pages import PageQuery, page_of
from legato.deployments.openai.responses.items import InputText, MessageItem
from legato.engine.errors import InvalidRequestError

ITEMS = [MessageItem(f"m{i}", "user", (InputText("a"),)) for i in range(5)]


@pytest.mark.parametrize(
    ("query", "ids", "has_more"),
    [
        ({}, "m4 m3 m2 m1 m0", False),
        ({"order": "asc", "limit": "2"}, "m0 m1", True),
        ({"order": "asc", "limit": "2", "after": "m1"}, "m2 m3", True),
        ({"order": "asc", "limit": "2", "after": "m3"}, "m4", False),
        ({"after": "m0"}, "", False),
        ({"limit": "3", "after": "m3"}, "m2 m1 m0", False),
    ],
)
def test_a_page_follows_the_item_it_is_after(
    query: dict[str, Any], ids: str, has_more: bool
) -> None:
    page = page_of(ITEMS, PageQuery.of(query))
    assert " ".join(item.id for item in page.data) == ids
    assert page.has_more is has_more
    assert (page.first_id, page.last_id) == ((ids[:2], ids[-2:]) if ids else ("", ""))


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1.5", "", "9" * 30, "²"])
def test_a_limit_is_a_small_number(limit: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        PageQuery.of({"limit": limit})
    assert refusal.value.param == "limit"


def test_there_is_no_page_after_nothing() -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        page_of(ITEMS, PageQuery.of({"after": "m9"}))
    assert refusal.value.param == "after"
