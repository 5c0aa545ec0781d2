"""Which turns go when a conversation is too long."""

from collections.abc import Sequence

import pytest

from legato.deployments.openai.responses.items import CallItem, InputText, Item, MessageItem
from legato.deployments.openai.responses.truncation import without_oldest_turns


def said(item_id: str, role: str) -> MessageItem:
    return MessageItem(item_id, role, (InputText("a"),))


CONVERSATION: tuple[Item, ...] = (
    said("s", "system"),
    said("u1", "user"),
    said("a1", "assistant"),
    said("u2", "user"),
    CallItem("c2", "c", "f", "{}"),
    said("d", "developer"),
    said("u3", "user"),
    said("u4", "user"),
)


async def left(limit: int, items: Sequence[Item] = CONVERSATION) -> str:
    async def fits(some: Sequence[Item]) -> bool:
        return len(some) <= limit

    return " ".join(item.id for item in await without_oldest_turns(items, fits))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (8, "s u1 a1 u2 c2 d u3 u4"),
        (7, "s u2 c2 d u3 u4"),
        (6, "s u2 c2 d u3 u4"),
        (5, "s d u3 u4"),
        (3, "s d u4"),
        (0, "s d u4"),
    ],
)
async def test_whole_turns_go_and_no_more_than_have_to(limit: int, expected: str) -> None:
    assert await left(limit) == expected


async def test_one_turn_alone_stays_as_it_is() -> None:
    assert await left(0, CONVERSATION[:3]) == "s u1 a1"
    assert await left(0, ()) == ""
