"""Input in all the shapes that clients send."""

from typing import Any

import msgspec
import pytest

from legato.deployments.openai.responses.input_items import read_input
from legato.deployments.openai.responses.items import (
    CallItem,
    CallOutputItem,
    InputText,
    Item,
    MessageItem,
    OutputText,
    ReasoningItem,
    ReasoningText,
    RefusalText,
    SummaryText,
)
from legato.deployments.openai.responses.request import GivenItem
from legato.engine.errors import InvalidRequestError

CALL: dict[str, Any] = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c"}
KNOWN = CallItem("fc_7", "c", "f", "{}")


def find(item_id: str) -> Item | None:
    return KNOWN if item_id == KNOWN.id else None


def read(*items: dict[str, Any]) -> tuple[Item, ...]:
    return read_input(msgspec.convert(items, list[GivenItem]), find)


def test_a_text_is_a_users_message() -> None:
    [item] = read_input("hi", find)
    assert item == MessageItem(item.id, "user", (InputText("hi"),))
    assert item.id.startswith("msg_")


def test_a_message_is_the_same_however_it_is_written() -> None:
    parts = [{"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}]
    by_text, by_parts = read(
        {"role": "user", "content": "ab"}, {"type": "message", "role": "user", "content": parts}
    )
    assert isinstance(by_text, MessageItem) and isinstance(by_parts, MessageItem)
    assert by_text.text == by_parts.text == "ab"
    assert by_parts.content == (InputText("a"), InputText("b"))


def test_what_the_assistant_said_is_output() -> None:
    parts = [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "no"}]
    first, second = read(
        {"role": "assistant", "content": "a"}, {"role": "assistant", "content": parts, "id": "m"}
    )
    assert isinstance(first, MessageItem) and first.content == (OutputText("a"),)
    assert second == MessageItem("m", "assistant", (OutputText("a"), RefusalText("no")))


def test_calls_outputs_and_thoughts_keep_what_they_are() -> None:
    thought = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "s"}],
        "content": [{"type": "reasoning_text", "text": "r"}],
        "encrypted_content": None,
    }
    call, text, parts, reasoning = read(
        {**CALL, "id": "fc_1", "status": "incomplete"},
        {**OUTPUT, "output": "7"},
        {**OUTPUT, "output": [{"type": "input_text", "text": "7"}]},
        thought,
    )
    assert call == CallItem("fc_1", "c", "f", "{}", "incomplete")
    assert isinstance(text, CallOutputItem) and isinstance(parts, CallOutputItem)
    assert text.text == parts.text == "7"
    assert reasoning == ReasoningItem("rs_1", (SummaryText("s"),), (ReasoningText("r"),))


def test_a_reference_is_the_item_itself() -> None:
    assert read({"type": "item_reference", "id": "fc_7"}, {"id": "fc_7"}) == (KNOWN, KNOWN)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"role": "tool", "content": "a"}, "role"),
        ({"role": "user"}, "content"),
        ({}, "role"),
        ({"role": "user", "content": [{"type": "input_file"}]}, "content[0].type"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "content[0].text"),
        ({"role": "user", "content": [{"type": "refusal", "refusal": "a"}]}, "content[0].type"),
        ({"role": "assistant", "content": [{"type": "refusal"}]}, "content[0].refusal"),
        ({**CALL, "call_id": None}, "call_id"),
        ({**CALL, "name": ""}, "name"),
        ({**CALL, "arguments": None}, "arguments"),
        (OUTPUT, "output"),
        ({**OUTPUT, "output": [{"type": "input_image"}]}, "output[0].type"),
        ({"type": "reasoning", "summary": [{"type": "image"}]}, "summary[0].type"),
        ({"type": "item_reference"}, "id"),
        ({"type": "item_reference", "id": "fc_8"}, "id"),
        ({"type": "mcp_call"}, "type"),
    ],
)
def test_what_cannot_be_read_is_named(item: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        read({"role": "user", "content": "a"}, item)
    assert refusal.value.param == f"input[1].{param}"
