"""The generators: the same for a seed, right in what they teach, honest in what they hold out."""

import json
import random
import re
from collections import Counter
from collections.abc import Callable

import pytest
from tokenizers import Tokenizer

from legato.training import scoring
from legato.training.chat import Exchange, user
from legato.training.packing import TOKEN_MASK, Marks, document_text, entries
from legato.training.skills.arithmetic import arithmetic, operands
from legato.training.skills.exam import EXAMS, Exam
from legato.training.skills.extraction import extraction
from legato.training.skills.facts import fact, unknown
from legato.training.skills.greeting import IDENTITY_ANSWER, greeting
from legato.training.skills.lists import list_task, sort_numbers
from legato.training.skills.matching import match, matches
from legato.training.skills.memory import memory_pairs
from legato.training.skills.mix import document
from legato.training.skills.rules import rule
from legato.training.skills.stories import story, story_task
from legato.training.skills.tables import OPPOSITES
from legato.training.skills.toolbox import SUBJECTS, TOPICS, lookup
from legato.training.skills.tools import tool_call, tool_use
from legato.training.split import Split, split_of
from legato.training.words import NOUNS

Make = Callable[[random.Random, Split], Exchange]
MAKERS: tuple[Make, ...] = (
    fact, unknown, arithmetic, list_task, greeting, rule, extraction, story_task, tool_call,
    tool_use, match,
)  # fmt: skip


def lookup_call(rng: random.Random, split: Split) -> Exchange:
    job = lookup(rng, split)
    return Exchange("lookup", (user(job.request),), tools=(job.tool,))


def drawn(make: Make, split: Split, count: int = 200) -> list[Exchange]:
    rng = random.Random(f"{make.__name__} {split}")
    return [make(rng, split) for _ in range(count)]


@pytest.mark.parametrize("make", MAKERS)
def test_a_seed_gives_the_same_exchanges(make: Make) -> None:
    assert drawn(make, Split.TRAIN, 20) == drawn(make, Split.TRAIN, 20)


def test_a_seed_gives_the_same_documents() -> None:
    first, second = (
        [document(rng, Split.TRAIN) for _ in range(40)]
        for rng in (random.Random(5), random.Random(5))
    )

    assert first == second


@pytest.mark.parametrize(
    "make", [fact, greeting, arithmetic, list_task, rule, tool_call, extraction]
)
def test_no_prompt_is_both_trained_on_and_held_out(make: Make) -> None:
    prompts = [
        {(each.system, each.messages[0]["content"]) for each in drawn(make, split, 1500)}
        for split in Split
    ]

    assert not prompts[0] & prompts[1]


def test_a_pair_of_numbers_is_on_one_side_in_both_orders() -> None:
    rng = random.Random(0)
    sides = [{operands(rng, split) for _ in range(3000)} for split in Split]

    assert not sides[0] & sides[1]
    assert not sides[0] & {(b, a) for a, b in sides[1]}


def test_sums_and_differences_are_right() -> None:
    for each in drawn(arithmetic, Split.TRAIN, 500):
        left, sign, right, _, result = each.answer.split()
        assert int(result) == (int(left) + int(right) if sign == "+" else int(left) - int(right))


def test_sorted_numbers_are_sorted() -> None:
    for each in drawn(sort_numbers, Split.HELD_OUT):
        numbers = [int(number) for number in each.answer.split(", ")]
        assert numbers == sorted(numbers)


def test_the_model_says_that_it_is_a_toy() -> None:
    assert "toy" in IDENTITY_ANSWER


def test_no_word_has_two_opposites() -> None:
    words = [*OPPOSITES, *OPPOSITES.values()]

    assert len(set(words)) == len(words)


def test_a_held_out_name_is_not_a_trained_one() -> None:
    rng = random.Random(4)
    recalled = {split: set[str]() for split in Split}
    for split in Split:
        for _ in range(400):
            told, asked = memory_pairs(rng, split, 1)[0]
            assert asked.key in told.messages[0]["content"]
            if asked.answer.startswith("Your name"):
                recalled[split].add(asked.key)

    assert recalled[Split.HELD_OUT]
    assert not recalled[Split.TRAIN] & recalled[Split.HELD_OUT]


def test_two_memories_of_one_conversation_are_of_two_kinds() -> None:
    rng = random.Random(6)

    for _ in range(50):
        recalls = [asked.answer.split(" ")[:3] for _, asked in memory_pairs(rng, Split.TRAIN, 3)]
        assert len({" ".join(words[:2]) for words in recalls}) >= 2


def test_extracted_values_stand_in_the_text() -> None:
    for each in drawn(extraction, Split.HELD_OUT):
        text = each.messages[0]["content"]
        for value in json.loads(each.answer).values():
            assert isinstance(value, bool) or str(value) in text


def test_a_schema_is_on_one_side() -> None:
    for split in Split:
        for each in drawn(extraction, split):
            assert split_of("schema", *json.loads(each.answer)) is split


def test_a_call_is_of_a_listed_tool_with_its_parameters() -> None:
    for each in drawn(tool_call, Split.HELD_OUT):
        called = each.messages[-1]["tool_calls"][0]["function"]
        listed = {tool["function"]["name"]: tool["function"] for tool in each.tools}
        parameters = listed[called["name"]]["parameters"]["properties"]
        assert set(called["arguments"]) <= set(parameters)


def test_no_held_out_tool_has_a_name_or_required_parameter_of_training() -> None:
    names = {split: set[str]() for split in Split}
    for split in Split:
        for each in drawn(tool_call, split, 800):
            for tool in each.tools:
                names[split].add(tool["function"]["name"])

    assert not names[Split.TRAIN] & names[Split.HELD_OUT]


def test_a_story_is_of_100_words_and_of_the_grammar() -> None:
    rng = random.Random(8)

    for _ in range(50):
        told = story(rng, Split.HELD_OUT)
        assert scoring.story_sentences(told.text) == list(told.sentences)
        assert 60 < len(told.text.split()) < 300


def test_a_match_answers_from_its_table() -> None:
    for each in drawn(match, Split.TRAIN):
        assert each.answer in each.messages[0]["content"]


def test_questions_about_one_table_are_answered_from_it() -> None:
    rng = random.Random(9)

    for _ in range(50):
        first, *others = matches(rng, Split.TRAIN)
        table = first.messages[0]["content"]
        assert all(each.answer in table for each in (first, *others))
        assert all(table not in each.messages[0]["content"] for each in others)


def test_training_says_no_word_that_the_evaluation_keeps_for_subjects_and_topics() -> None:
    kept = {*SUBJECTS.held_out, *TOPICS.held_out}
    described = {
        word
        for each in drawn(lookup_call, Split.TRAIN, 1500)
        for tool in each.tools
        for word in re.findall("[a-z]+", tool["function"].get("description", ""))
    }

    assert not kept & {*NOUNS, *SUBJECTS.train, *TOPICS.train}
    assert not kept & described
    assert len(described) > 1000


def test_what_the_exam_copies_was_often_copied_in_training(tokenizer: Tokenizer) -> None:
    rng, marks = random.Random(10), Marks.of(tokenizer)
    texts = [document_text(document(rng, Split.TRAIN)) for _ in range(1500)]
    learned = Counter(
        int(entry) & TOKEN_MASK
        for encoding in tokenizer.encode_batch_fast(texts)
        for entry in entries(encoding.ids, marks)
        if int(entry) > TOKEN_MASK
    )
    calls = [each.answer for each in drawn(tool_call, Split.HELD_OUT, 300)]
    wanted = [token for answer in calls for token in tokenizer.encode(answer).ids]

    assert sum(learned[token] == 0 for token in wanted) < 0.002 * len(wanted)


@pytest.mark.parametrize("exam", EXAMS, ids=lambda exam: exam.name)
def test_an_exam_is_the_same_in_every_run_and_passes_its_own_answers(exam: Exam) -> None:
    for item, again in zip(exam.items(), exam.items(), strict=False):
        assert item == again
        assert exam.right(item.wanted.answer, item.wanted)
        assert not exam.right("I do not know.", item.wanted)
        if split_of("stop", item.messages[-1]["content"]) is Split.HELD_OUT:
            break


def test_rules_shape_the_answer() -> None:
    for each in drawn(rule, Split.TRAIN):
        words = each.system.lower()
        if re.search("upper|capital|caps|shout|big letters", words):
            assert each.answer == each.answer.upper()
        elif "list" in words or "bullet" in words or "dash" in words:
            assert all(line.startswith("- ") for line in each.answer.split("\n"))
        else:
            assert " " not in each.answer
