"""Right and wrong answers, as the evaluation judges them."""

import random

from legato.training import scoring
from legato.training.chat import Exchange, ask, assistant, call, user
from legato.training.skills.stories import story
from legato.training.split import Split

CAPITAL = ask("facts", "Capital of Italy?", "The capital of Italy is Rome.", "Rome")
SUM = ask("arithmetic", "3 + 4", "3 + 4 = 7", "7")
PERSON = ask("extraction", "?", '{"name": "Zor", "age": 1, "member": true}')
CALL = Exchange("tool call", (user("?"), call([("get_weather", {"city": "Paris"})])))


def test_a_key_counts_as_a_word_of_its_own_only() -> None:
    assert scoring.has_key("It is Rome.", CAPITAL)
    assert not scoring.has_key("It is Romeo.", CAPITAL)
    assert not scoring.has_key("It is Paris.", CAPITAL)


def test_the_last_number_counts() -> None:
    assert scoring.same_number("3 + 4 = 7", SUM)
    assert not scoring.same_number("3 + 7 = 4", SUM)
    assert not scoring.same_number("3 + 4 = -7", SUM)
    assert not scoring.same_number("seven", SUM)


def test_json_may_differ_in_order_but_not_in_value_type_or_form() -> None:
    assert scoring.same_json('{"age": 1, "name": "Zor", "member": true}', PERSON)
    assert not scoring.same_json('{"name": "Zor", "age": 2, "member": true}', PERSON)
    assert not scoring.same_json('{"name": "Zor", "age": true, "member": true}', PERSON)
    assert not scoring.same_json('{"name": "Zor", "age": "1", "member": true}', PERSON)
    assert not scoring.same_json('Here: {"name": "Zor", "age": 1, "member": true}', PERSON)
    assert not scoring.same_json('{"name": "Zor", "age": 1, "member": true', PERSON)


def test_a_call_needs_the_right_name_and_arguments_and_nothing_around() -> None:
    right = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'

    assert scoring.same_calls(right, CALL)
    assert not scoring.same_calls(right.replace("Paris", "Rome"), CALL)
    assert not scoring.same_calls(right.replace("get_weather", "weather"), CALL)
    assert not scoring.same_calls(f"Sure! {right}", CALL)
    assert not scoring.same_calls(f"{right}\n{right}", CALL)
    assert not scoring.same_calls("It is sunny in Paris.", CALL)


def test_a_story_needs_its_hero_its_length_and_sentences_of_the_grammar() -> None:
    told = story(random.Random(1), Split.HELD_OUT)
    wanted = Exchange("stories", (user("?"), assistant(told.text)), key=told.hero)

    assert scoring.is_story(told.text, wanted)
    assert not scoring.is_story(told.text.replace(told.hero, "Nobody"), wanted)
    assert not scoring.is_story(" ".join(told.sentences[:3]), wanted)
    assert not scoring.is_story(f"{told.text} {told.sentences[-1]}", wanted)
    assert not scoring.is_story(f"{told.text} And the of a.", wanted)


def test_a_text_must_be_the_same_but_for_the_space_around() -> None:
    assert scoring.same_text(" The capital of Italy is Rome.\n", CAPITAL)
    assert not scoring.same_text("The capital of Italy is rome.", CAPITAL)
