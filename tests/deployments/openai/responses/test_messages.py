"""Items as the messages of a chat."""

import pytest

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
from legato.deployments.openai.responses.messages import to_messages
from legato.engine.errors import InvalidRequestError


def said(text: str, role: str = "user") -> MessageItem:
    part = OutputText(text) if role == "assistant" else InputText(text)
    return MessageItem("msg_1", role, (part,))


def called(call_id: str) -> CallItem:
    return CallItem("fc_1", call_id, "add", '{"a": 1}')


THOUGHT = ReasoningItem("rs_1", content=(ReasoningText("hm"),))


def test_a_thought_a_text_and_calls_are_one_message_of_the_assistant() -> None:
    items: list[Item] = [
        said("hi"),
        THOUGHT,
        said("Sure.", "assistant"),
        called("c1"),
        called("c2"),
    ]
    user, assistant = to_messages(None, items)
    assert (user.role, user.content) == ("user", "hi")
    assert (assistant.role, assistant.content) == ("assistant", "Sure.")
    assert assistant.reasoning == "hm"
    assert [call.id for call in assistant.tool_calls or ()] == ["c1", "c2"]


def test_a_thought_before_a_call_is_of_the_same_message() -> None:
    [assistant] = to_messages(None, [THOUGHT, called("c1")])
    assert assistant.reasoning == "hm" and assistant.tool_calls and assistant.content is None


def test_what_follows_calls_is_another_message() -> None:
    items: list[Item] = [called("c1"), said("Done.", "assistant"), THOUGHT]
    messages = to_messages(None, items)
    assert [message.content for message in messages] == [None, "Done.", None]


@pytest.mark.parametrize("output", ["7", (InputText("7"),)])
def test_an_output_is_a_tools_message_with_the_functions_name(
    output: str | tuple[InputText, ...],
) -> None:
    *_, tool = to_messages(None, [called("c1"), CallOutputItem("fco_1", "c1", output)])
    assert (tool.role, tool.content) == ("tool", "7")
    assert (tool.tool_call_id, tool.name) == ("c1", "add")


def test_instructions_and_what_the_system_says_first_are_one_message() -> None:
    items = [said("b", "developer"), said("c", "system"), said("hi"), said("d", "system")]
    messages = to_messages("a", items)
    assert [(message.role, message.content) for message in messages] == [
        ("system", "a\n\nb\n\nc"),
        ("user", "hi"),
        ("system", "d"),
    ]
    assert to_messages(None, items[:1])[0].role == "developer"


def test_summaries_and_refusals_are_texts_too() -> None:
    thought = ReasoningItem("rs_1", (SummaryText("hm"),))
    refusal = MessageItem("msg_1", "assistant", (RefusalText("No."),))
    [message] = to_messages(None, [thought, refusal])
    assert (message.reasoning, message.content) == ("hm", "No.")


def test_a_thought_that_is_not_told_is_nothing() -> None:
    items: list[Item] = [ReasoningItem("rs_1"), said("Sure.", "assistant")]
    [message] = to_messages(None, items)
    assert message.content == "Sure." and message.reasoning is None


def test_an_output_needs_its_call_and_a_conversation_a_message() -> None:
    with pytest.raises(InvalidRequestError, match="c9"):
        to_messages(None, [called("c1"), CallOutputItem("fco_1", "c9", "7")])
    with pytest.raises(InvalidRequestError, match="empty"):
        to_messages(None, [])
