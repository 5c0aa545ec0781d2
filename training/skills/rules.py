"""A system prompt's rule for the form of every answer: upper case, one word, a list.

The rule is put over questions of other skills. Held out are the rule's wordings, together with the
wordings (and the numbers, the lists) that those skills hold out.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from legato.training.chat import Exchange, ask, assistant
from legato.training.skills.arithmetic import arithmetic
from legato.training.skills.asking import TASK_FRAMES
from legato.training.skills.facts import fact
from legato.training.skills.greeting import greeting
from legato.training.skills.lists import repeat, reverse, sort_words
from legato.training.split import Split, Wordings, split_of
from legato.training.words import ANIMALS, COLOURS, DAYS, FOODS, FRUITS, JOBS, OBJECTS

SKILL = "rules"
Task = Callable[[random.Random, Split], Exchange]

_RULE_FRAMES = (
    "answer @.", "always answer @.", "please answer @.", "reply @.", "write @.", "respond @.",
    "you must answer @.", "every answer must be written @.", "all answers are @.", "speak @.",
    "you are a helpful assistant. Answer @.", "you always reply @.", "give your answers @.",
    "write every answer @.", "I want all answers @.", "please reply @.",
    "the user wants answers @.",
    "your answers are @.", "each reply must be @.", "never answer other than @.", "talk @.",
    "whatever I ask, answer @.", "please write every reply @.", "you should always answer @.",
)  # fmt: skip

UPPER_CASE = Wordings(
    train=(
        "Answer in upper case.", "Always answer in upper case.", "Answer in capital letters.",
        "Use only capital letters.", "Write everything in upper case.", "Reply in ALL CAPS.",
        "You answer only in upper case.", "All your answers must be in upper case.",
        "You are a helpful assistant. Answer in upper case.", "Please shout: upper case only.",
        "Speak in capitals.", "Respond in uppercase letters only.",
    ),
    held_out=("Every answer must be in capital letters.", "Write your answers in upper case.",
              "Always reply in upper case letters."),
    frames=_RULE_FRAMES,
    cores=(
        "in upper case", "in capital letters", "in capitals", "in upper case letters",
        "with capital letters only", "in uppercase", "in big letters",
    ),
)  # fmt: skip
ONE_WORD = Wordings(
    train=(
        "Answer in one word.", "Always answer with one word.", "Answer with a single word.",
        "Use one word only.", "Reply with exactly one word.", "Your answers are one word long.",
        "You are a helpful assistant. Answer in one word.", "Be brief: one word.",
        "Give only the answer, as one word.", "Only one word per answer.", "One word answers only.",
        "Respond with just one word.",
    ),
    held_out=("Every answer must be one word.", "Please answer with just a single word.",
              "Always reply in one word."),
    frames=_RULE_FRAMES,
    cores=(
        "in one word", "with one word", "with a single word", "in exactly one word",
        "as one word", "with just one word", "in a single word only",
    ),
)  # fmt: skip
AS_LIST = Wordings(
    train=(
        "Answer as a list.", "Always answer as a list.", "Write every answer as a list.",
        "Give your answers as a bullet list.", "Use a list with dashes.", "Reply with a list.",
        "Answer in the form of a list.", "You are a helpful assistant. Answer as a list.",
        "Format all answers as lists.", "Put each item on its own line, with a dash.",
        "Your answers are bullet points.", "Respond with bullet points.",
    ),
    held_out=("Every answer must be a list.", "Please write your answers as a bullet list.",
              "Always reply as a list."),
    frames=_RULE_FRAMES,
    cores=(
        "as a list", "as a bullet list", "in a list", "as bullet points",
        "as a list with dashes", "in the form of a list", "in list form",
    ),
)  # fmt: skip

CATEGORIES = {
    "fruits": FRUITS, "animals": ANIMALS, "colours": COLOURS, "days of the week": DAYS,
    "foods": FOODS, "jobs": JOBS, "things": OBJECTS,
}  # fmt: skip
NAME_SOME = Wordings(
    train=("Name {n} {x}.", "List {n} {x}.", "Give me {n} {x}.", "Tell me {n} {x}.",
           "Can you name {n} {x}?", "Which {n} {x} do you know?", "I need {n} {x}."),
    held_out=("Please name {n} {x}.", "Could you list {n} {x}?"),
    frames=TASK_FRAMES,
    cores=(
        "name {n} {x}", "list {n} {x}", "give me {n} {x}", "tell me {n} {x}",
        "write down {n} {x}", "think of {n} {x}", "say {n} {x}",
    ),
)  # fmt: skip
_NUMBER_WORDS = {2: "two", 3: "three", 4: "four", 5: "five"}


def name_some(rng: random.Random, split: Split) -> Exchange:
    """The first few members of a category: "Name three fruits." -> "apple, pear, plum"."""
    while True:
        category, size = rng.choice(list(CATEGORIES)), rng.choice(list(_NUMBER_WORDS))
        wording = NAME_SOME.pick(rng, split)
        number = rng.choice((str(size), _NUMBER_WORDS[size]))
        if split is Split.HELD_OUT or split_of("category", category, size) is Split.TRAIN:
            break
    answer = ", ".join(CATEGORIES[category][:size])
    return ask("categories", wording.format(n=number, x=category), answer)


def upper_case_rule(rng: random.Random, split: Split, count: int) -> list[Exchange]:
    """`count` exchanges, all answered in upper case."""
    system = UPPER_CASE.pick(rng, split)
    tasks = [rng.choice((fact, fact, arithmetic, greeting, repeat)) for _ in range(count)]
    return [_ruled(base, system, base.answer.upper()) for base in _made(tasks, rng, split)]


def one_word_rule(rng: random.Random, split: Split, count: int) -> list[Exchange]:
    """`count` exchanges, all answered in one word or one number."""
    system = ONE_WORD.pick(rng, split)
    tasks = [rng.choice((fact, fact, arithmetic)) for _ in range(count)]
    return [_ruled(base, system, base.key) for base in _made(tasks, rng, split)]


def list_rule(rng: random.Random, split: Split, count: int) -> list[Exchange]:
    """`count` exchanges, all answered as a list with dashes."""
    system = AS_LIST.pick(rng, split)
    choices = (fact, name_some, name_some, repeat, reverse, sort_words)
    bases = _made([rng.choice(choices) for _ in range(count)], rng, split)
    return [_ruled(base, system, _as_list(base)) for base in bases]


def ruled(rng: random.Random, split: Split, count: int = 1) -> list[Exchange]:
    """`count` exchanges under one rule."""
    return rng.choice((upper_case_rule, one_word_rule, list_rule))(rng, split, count)


def rule(rng: random.Random, split: Split) -> Exchange:
    """One exchange under a rule."""
    return ruled(rng, split)[0]


def _made(tasks: Sequence[Task], rng: random.Random, split: Split) -> list[Exchange]:
    return [task(rng, split) for task in tasks]


def _ruled(base: Exchange, system: str, answer: str) -> Exchange:
    messages = (*base.messages[:-1], assistant(answer))
    return replace(base, skill=SKILL, messages=messages, key=answer, system=system)


def _as_list(base: Exchange) -> str:
    items = [base.key] if base.skill == "facts" else base.answer.split(", ")
    return "\n".join(f"- {item}" for item in items)
