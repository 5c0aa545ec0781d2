"""Deltas to items and their events."""

from legato.deployments.openai.choice import ChoiceDelta
from legato.deployments.openai.message.parts import (
    CallArguments,
    CallOpened,
    Part,
    ReasoningPart,
    TextPart,
)
from legato.deployments.openai.responses.events import Event
from legato.deployments.openai.responses.items import (
    CallItem,
    MessageItem,
    OutputText,
    ReasoningItem,
)
from legato.deployments.openai.responses.output import OutputBuilder
from legato.deployments.openai.token_texts import TokenTexts
from legato.tests.deployments.openai.harness import encode, logprobs_of, tiny_tokenizer


def delta(*parts: Part) -> ChoiceDelta:
    return ChoiceDelta("", (), (), parts=parts)


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_one_delta_may_end_an_item_and_begin_others() -> None:
    output = OutputBuilder(None, with_summary=False)
    assert kinds(output.feed(delta(ReasoningPart("a")))) == [
        *("ItemAdded", "PartAdded", "ReasoningDelta")
    ]
    events = output.feed(delta(ReasoningPart("b"), TextPart("c"), CallOpened(0, "call_1", "f")))
    assert kinds(events) == [
        *("ReasoningDelta", "ReasoningDone", "PartDone", "ItemDone"),
        *("ItemAdded", "PartAdded", "TextDelta", "TextDone", "PartDone", "ItemDone"),
        "ItemAdded",
    ]
    assert kinds(output.feed(delta(CallArguments(0, "{}")))) == ["ArgumentsDelta"]
    assert [item.status for item in output.items] == ["completed", "completed", "in_progress"]
    assert kinds(output.finish("incomplete")) == ["ArgumentsDone", "ItemDone"]
    thought, message, call = output.items
    assert isinstance(thought, ReasoningItem) and thought.text == "ab"
    assert isinstance(message, MessageItem) and message.text == "c"
    assert isinstance(call, CallItem) and (call.call_id, call.arguments) == ("call_1", "{}")
    assert [item.status for item in output.items] == ["completed", "completed", "incomplete"]


def test_text_that_nobody_reads_is_one_message() -> None:
    output = OutputBuilder(None, with_summary=False)
    for text in ("a", "", "b"):
        output.feed(ChoiceDelta(text, (), ()))
    output.finish("completed")
    [message] = output.items
    assert isinstance(message, MessageItem) and message.text == "ab"


def test_log_probabilities_are_those_of_the_message_alone() -> None:
    output = OutputBuilder(TokenTexts(tiny_tokenizer()), with_summary=False)
    thought, text = encode("a")[0], encode("b")[0]
    logprobs = logprobs_of(thought, 1), logprobs_of(text, 1)
    output.feed(ChoiceDelta("", (thought,), logprobs[:1], parts=(ReasoningPart("a"),)))
    output.feed(ChoiceDelta("", (text,), logprobs[1:], parts=(TextPart("b"),)))
    _, message = output.items
    assert isinstance(message, MessageItem)
    assert [entry.token for entry in message.content[0].logprobs] == ["b"]  # type: ignore[union-attr]


def test_log_probabilities_of_tokens_without_text_go_with_the_next_text() -> None:
    for parts in (None, (TextPart("€"),)):
        output = OutputBuilder(TokenTexts(tiny_tokenizer()), with_summary=False)
        ids = encode("€")
        logprobs = [logprobs_of(token_id, 1) for token_id in ids]
        for token_id, entry in zip(ids[:-1], logprobs, strict=False):
            assert output.feed(ChoiceDelta("", (token_id,), (entry,))) == []
        text = "" if parts else "€"
        output.feed(ChoiceDelta(text, ids[-1:], tuple(logprobs[-1:]), parts=parts))
        [message] = output.items
        assert isinstance(message, MessageItem)
        [part] = message.content
        assert isinstance(part, OutputText) and len(part.logprobs) == len(ids)


def test_an_answer_that_was_broken_off_at_once_has_no_items() -> None:
    output = OutputBuilder(None, with_summary=False)
    assert output.finish("incomplete") == [] and output.items == ()
    assert kinds(output.finish("completed"))[0] == "ItemAdded"
