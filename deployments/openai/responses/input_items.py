"""A request's input, from any of the shapes in which clients send it, to items in their one form.

"text"                                  -> a user's message
{"role": ..., "content": "text"}        -> a message with one part
{"type": "item_reference", "id": ...}   -> the item of an earlier response
what a response had in its output       -> the same again
"""

from collections.abc import Callable, Sequence

from legato.deployments.openai.responses.items import (
    COMPLETED,
    IN_PROGRESS,
    INCOMPLETE,
    CallItem,
    CallOutputItem,
    InputText,
    Item,
    MessageItem,
    MessagePart,
    OutputText,
    ReasoningItem,
    ReasoningText,
    RefusalText,
    SummaryText,
    new_item_id,
)
from legato.deployments.openai.responses.request import GivenItem, GivenPart
from legato.deployments.openai.tool_use import MAX_NAME_CHARS
from legato.engine.errors import InvalidRequestError

ROLES = ("user", "assistant", "system", "developer")
MAX_ID_CHARS = 128
_TEXT_PARTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")

FindItem = Callable[[str], Item | None]  # an item of an earlier response, by its id


def read_input(given: str | Sequence[GivenItem], find_item: FindItem) -> tuple[Item, ...]:
    """The input as items, each with an id.

    Raises:
        InvalidRequestError: an item is not supported, lacks something, or refers to nothing.
    """
    if isinstance(given, str):
        return (MessageItem(new_item_id(MessageItem), "user", (InputText(given),)),)
    return tuple(_read_item(item, f"input[{i}]", find_item) for i, item in enumerate(given))


def _read_item(item: GivenItem, place: str, find_item: FindItem) -> Item:
    match item.type:
        case None if item.role is None and item.id is not None:
            return _referred(item, place, find_item)
        case None | "message":
            return _read_message(item, place)
        case "function_call":
            return _read_call(item, place)
        case "function_call_output":
            return _read_call_output(item, place)
        case "reasoning":
            return _read_reasoning(item, place)
        case "item_reference":
            return _referred(item, place, find_item)
    raise InvalidRequestError(
        f"items of type {item.type[:40]!r} are not supported", f"{place}.type"
    )


def _referred(item: GivenItem, place: str, find_item: FindItem) -> Item:
    item_id = _required(item.id, f"{place}.id")
    found = find_item(item_id)
    if found is None:
        raise InvalidRequestError(
            f"no stored response has an item {item_id[:MAX_ID_CHARS]!r}; items of responses that "
            "are not stored have to be sent whole",
            f"{place}.id",
        )
    return found


def _read_message(item: GivenItem, place: str) -> MessageItem:
    if item.role not in ROLES:
        raise InvalidRequestError(f"must be one of {', '.join(ROLES)}", f"{place}.role")
    place = f"{place}.content"
    if item.content is None:
        raise InvalidRequestError("this field is required", place)
    is_output = item.role == "assistant"
    content: tuple[MessagePart, ...]
    if isinstance(item.content, str):
        content = (OutputText(item.content) if is_output else InputText(item.content),)
    else:
        content = tuple(
            _read_part(part, is_output, f"{place}[{i}]") for i, part in enumerate(item.content)
        )
    return MessageItem(_id_of(item, MessageItem), item.role, content, _status_of(item))


def _read_part(part: GivenPart, is_output: bool, place: str) -> MessagePart:
    if is_output and part.type == "refusal":
        return RefusalText(_required(part.refusal, f"{place}.refusal"))
    text = _text_of(part, place)
    return OutputText(text) if is_output else InputText(text)


def _read_call(item: GivenItem, place: str) -> CallItem:
    name = _required(item.name, f"{place}.name")
    if not 0 < len(name) <= MAX_NAME_CHARS:
        raise InvalidRequestError(f"must have 1 to {MAX_NAME_CHARS} characters", f"{place}.name")
    return CallItem(
        _id_of(item, CallItem),
        _required(item.call_id, f"{place}.call_id"),
        name,
        _required(item.arguments, f"{place}.arguments"),
        _status_of(item),
    )


def _read_call_output(item: GivenItem, place: str) -> CallOutputItem:
    output = item.output
    if output is None:
        raise InvalidRequestError("this field is required", f"{place}.output")
    return CallOutputItem(
        _id_of(item, CallOutputItem),
        _required(item.call_id, f"{place}.call_id"),
        output
        if isinstance(output, str)
        else tuple(InputText(text) for text in _texts_of(output, f"{place}.output")),
        _status_of(item),
    )


def _read_reasoning(item: GivenItem, place: str) -> ReasoningItem:
    given = [] if isinstance(item.content, str) else item.content or []
    return ReasoningItem(
        _id_of(item, ReasoningItem),
        tuple(SummaryText(text) for text in _texts_of(item.summary or (), f"{place}.summary")),
        tuple(ReasoningText(text) for text in _texts_of(given, f"{place}.content")),
        status=_status_of(item),
    )


def _texts_of(parts: Sequence[GivenPart], place: str) -> list[str]:
    return [_text_of(part, f"{place}[{i}]") for i, part in enumerate(parts)]


def _text_of(part: GivenPart, place: str) -> str:
    if part.type not in _TEXT_PARTS:
        raise InvalidRequestError(
            f"parts of type {part.type[:40]!r} are not supported, only texts", f"{place}.type"
        )
    return _required(part.text, f"{place}.text")


def _required(value: str | None, place: str) -> str:
    if value is None:
        raise InvalidRequestError("this field is required", place)
    return value


def _id_of(item: GivenItem, kind: type[Item]) -> str:
    return item.id if item.id and len(item.id) <= MAX_ID_CHARS else new_item_id(kind)


def _status_of(item: GivenItem) -> str:
    return item.status if item.status in (IN_PROGRESS, INCOMPLETE) else COMPLETED
