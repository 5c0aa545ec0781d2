"""Thoughts apart from answers, however the text is cut."""

import pytest

from legato.deployments.openai.message.message_parser import MessageReading
from legato.deployments.openai.message.parts import ReasoningPart, TextPart
from legato.deployments.openai.message.reasoning import THINK_TAGS, tags_of_template
from legato.deployments.openai.message.tool_syntax import HERMES
from legato.tests.deployments.openai.message.reading import calls_of, message_of, parts_of, think

TAGS = THINK_TAGS["qwen3"]
CALL = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'


@pytest.mark.parametrize(
    ("text", "is_opened", "reasoning", "answer"),
    [
        ("<think>\nwell, a < b\n</think>\n\nYes. ", False, "well, a < b", "Yes. "),
        ("\n<think>well</think>Yes", False, "well", "Yes"),
        ("well\n\n</think>\n\nYes", True, "well", "Yes"),
        ("<think>well</think>Yes", True, "well", "Yes"),
        ("<think>\n\n</think>\n\nYes", False, "", "Yes"),
        ("still at it </thi", True, "still at it </thi", ""),
        ("<think>still at it", False, "still at it", ""),
        ("Yes, <think>is a tag</think>", False, "", "Yes, <think>is a tag</think>"),
        (" <thing", False, "", " <thing"),
        ("<thi", False, "", "<thi"),
        ("", True, "", ""),
        ("<think>a</think>b</think>c <think>", False, "a", "b</think>c <think>"),
    ],
)
def test_a_thought_is_what_stands_in_the_tags_at_the_beginning(
    text: str, is_opened: bool, reasoning: str, answer: str
) -> None:
    assert think(text, TAGS, is_opened) == (reasoning, answer)


@pytest.mark.parametrize("name", THINK_TAGS)
def test_each_parser_knows_its_tags_and_templates_show_them(name: str) -> None:
    tags = THINK_TAGS[name]
    assert think(f"{tags.start}hm{tags.end}\nyes", tags) == ("hm", "yes")
    assert tags_of_template(f"... content.split('{tags.end}') ...") == tags


def test_a_template_without_tags_shows_none() -> None:
    assert tags_of_template("{{ messages }}") is None


def test_calls_are_read_behind_a_thought_and_not_in_it() -> None:
    reading = MessageReading(TAGS, calls=calls_of(HERMES))
    parts = parts_of([f"<think>maybe {CALL}</think>\n{CALL}"], reading)
    assert message_of(parts) == (f"maybe {CALL}", "", [("add", "{}")])


def test_a_thought_that_nobody_wants_is_left_out() -> None:
    reading = MessageReading(TAGS, shows_reasoning=False)
    assert parts_of(["<think>hm", "m</think>yes"], reading) == [TextPart("yes")]


def test_a_thought_is_given_while_it_is_thought() -> None:
    parts = parts_of(["<think>", "one", " two", "</think>", "three"], MessageReading(TAGS))
    assert parts == [ReasoningPart("one"), ReasoningPart(" two"), TextPart("three")]
