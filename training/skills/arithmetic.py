"""Addition and subtraction of numbers up to 99, asked in many wordings.

Held out are pairs of numbers (in either order, for both operations) and wordings; the evaluation
takes both held out at once.
"""

import random

from legato.training.chat import Exchange, ask
from legato.training.skills.asking import QUESTION_FRAMES, opened
from legato.training.split import Split, Wordings, split_of
from legato.training.words import FIRST_NAMES, FRUITS, OBJECTS

SKILL = "arithmetic"
LARGEST = 99

ADDITION = Wordings(
    train=(
        "What is {a} + {b}?", "{a} + {b}", "{a}+{b}", "{a} + {b} =", "What is {a} plus {b}?",
        "Add {a} and {b}.", "How much is {a} plus {b}?", "Compute {a} + {b}.", "{a} plus {b}?",
        "What is the sum of {a} and {b}?", "Calculate {a} + {b}.", "Please add {b} to {a}.",
        "Tell me {a} + {b}.", "How much is {a} + {b}?", "Sum of {a} and {b}?",
        "What do I get when I add {a} and {b}?", "Give me the sum of {a} and {b}.",
        "How much do {a} and {b} make?", "When I add {a} to {b}, what is it?", "{a} and {b} makes?",
        "{a} more than {b} is what?", "If I have {a} and get {b}, how much is that?",
    ),
    held_out=(
        "Can you work out {a} + {b}?", "If I add {a} and {b}, what is the result?",
        "{a} and {b} together make what?", "I need to know {a} plus {b}.",
    ),
    frames=QUESTION_FRAMES,
    cores=("{a} + {b}", "{a} plus {b}", "the sum of {a} and {b}", "the result of {a} + {b}",
           "the total of {a} and {b}", "{a} and {b} together", "the result if I add {a} and {b}",
           "{a} added to {b}", "the result of {a} plus {b}"),
)  # fmt: skip
SUBTRACTION = Wordings(
    train=(
        "What is {a} - {b}?", "{a} - {b}", "{a}-{b}", "{a} - {b} =", "What is {a} minus {b}?",
        "Subtract {b} from {a}.", "How much is {a} minus {b}?", "Compute {a} - {b}.",
        "What is the difference of {a} and {b}?", "Calculate {a} - {b}.", "{a} minus {b}?",
        "Take {b} away from {a}.", "Tell me {a} - {b}.", "How much is {a} - {b}?",
        "What do I get when I take {b} from {a}?", "What is {a} less {b}?",
        "When I take {b} away from {a}, what is left?",
        "If I subtract {b} from {a}, how much is it?",
        "{b} less than {a} is what?", "I have {a} and lose {b}. What remains?",
        "What remains of {a} without {b}?",
        "If {b} is taken from {a}, how much is left?",
    ),
    held_out=(
        "Can you work out {a} - {b}?", "If I subtract {b} from {a}, what is the result?",
        "I need to know {a} minus {b}.", "What remains when {b} is taken from {a}?",
    ),
    frames=QUESTION_FRAMES,
    cores=("{a} - {b}", "{a} minus {b}", "the difference of {a} and {b}",
           "the result of {a} - {b}", "the result if I take {b} from {a}", "{a} less {b}",
           "the result of {a} minus {b}"),
)  # fmt: skip
GAIN = Wordings(
    train=(
        "{n} has {a} {t}s and gets {b} more. How many {t}s does {n} have now?",
        "There are {a} {t}s in a box. {n} puts {b} more in. How many {t}s are there?",
        "{n} buys {a} {t}s and then {b} {t}s. How many is that?",
        "{n} finds {a} {t}s. Then {n} finds {b} more. How many {t}s does {n} have?",
        "Yesterday {n} saw {a} {t}s and today {b} more. How many {t}s in all?",
        "{n} owns {a} {t}s. A friend brings {b} {t}s. How many are there now?",
    ),
    held_out=("{n} finds {a} {t}s and later {b} more {t}s. How many does {n} have?",),
)
LOSS = Wordings(
    train=(
        "{n} has {a} {t}s and gives away {b}. How many {t}s are left?",
        "There are {a} {t}s in a box. {n} takes {b} out. How many {t}s remain?",
        "{n} had {a} {t}s and lost {b}. How many {t}s does {n} have now?",
        "{n} owns {a} {t}s. Then {b} of them break. How many are left?",
        "From {a} {t}s {n} sells {b}. How many {t}s remain?",
        "{n} has {a} {t}s and eats {b} of them. How many does {n} still have?",
    ),
    held_out=("{n} owns {a} {t}s and sells {b} of them. How many are left?",),
)
_THINGS = [word for word in (*FRUITS, *OBJECTS) if word[-1] not in "yshxf"]


def operands(rng: random.Random, split: Split) -> tuple[int, int]:
    """Two numbers up to 99 whose pair, in whichever order, lies on the side `split`."""
    while True:
        pair = rng.randint(0, LARGEST), rng.randint(0, LARGEST)
        if split_of("pair", *sorted(pair)) is split:
            return pair


def arithmetic(rng: random.Random, split: Split) -> Exchange:
    """A sum or a difference; one difference in five is below zero."""
    a, b = operands(rng, split)
    adds = rng.random() < 0.5
    if not adds and a < b and rng.random() < 0.6:
        a, b = b, a
    if rng.random() < 0.2:
        return _story_problem(rng, split, max(a, b), min(a, b))
    question = (ADDITION if adds else SUBTRACTION).pick(rng, split).format(a=a, b=b)
    result = a + b if adds else a - b
    return ask(
        SKILL,
        opened(rng, split, question),
        f"{a} {'+' if adds else '-'} {b} = {result}",
        str(result),
    )


def _story_problem(rng: random.Random, split: Split, a: int, b: int) -> Exchange:
    adds = rng.random() < 0.5
    fields = {"a": a, "b": b, "n": rng.choice(FIRST_NAMES), "t": rng.choice(_THINGS)}
    question = (GAIN if adds else LOSS).pick(rng, split).format(**fields)
    result = a + b if adds else a - b
    return ask(
        SKILL,
        opened(rng, split, question),
        f"{a} {'+' if adds else '-'} {b} = {result}",
        str(result),
    )
