"""`truncation: auto`: a conversation too long for the model's context loses its oldest turns."""

from collections.abc import Awaitable, Callable, Sequence

from legato.deployments.openai.responses.items import Item, MessageItem


async def without_oldest_turns(
    items: Sequence[Item], fits: Callable[[Sequence[Item]], Awaitable[bool]]
) -> Sequence[Item]:
    """As much of the conversation's end as fits; its last turn, if nothing does.

    Whole turns go, from one message of the user to the next, so that no call is parted from its
    output; what the system said stays. `fits` is asked a logarithmic number of times.
    """
    if await fits(items):
        return items
    turns = [i for i, item in enumerate(items) if _is_by(item, "user")][1:]
    low, high = 0, len(turns) - 1
    while low < high:
        middle = (low + high) // 2
        if await fits(_from_turn(turns[middle], items)):
            high = middle
        else:
            low = middle + 1
    return _from_turn(turns[low], items) if turns else items


def _from_turn(start: int, items: Sequence[Item]) -> Sequence[Item]:
    kept = [item for item in items[:start] if _is_by(item, "system", "developer")]
    return [*kept, *items[start:]]


def _is_by(item: Item, *roles: str) -> bool:
    return isinstance(item, MessageItem) and item.role in roles
