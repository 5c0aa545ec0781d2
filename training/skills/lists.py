"""Short lists: count, reverse, sort, repeat; and small tasks with one word.

Lists are drawn at random; one in ten, by its content, is held out, and so are some wordings.
"""

import random
from collections.abc import Callable

from legato.training.chat import Exchange, ask
from legato.training.skills.asking import TASK_FRAMES, opened
from legato.training.split import Split, Wordings, split_of
from legato.training.words import COMMON_WORDS, FIRST_NAMES, FRUITS, made_up_word

SKILL = "lists"
SYMBOLS = (*"🙂🎉❤★→€£éüñßçøåλΩя中文日本語한글", "café", "naïve", "über", "señor")

REPEAT = Wordings(
    train=(
        "Repeat: {x}", "Repeat this list: {x}", "Say this again: {x}", "Repeat after me: {x}",
        "Please repeat {x}.", "Copy this: {x}", "Write the same list: {x}", "Echo: {x}",
    ),
    held_out=("Say exactly this: {x}", "Please write this list once more: {x}"),
    frames=TASK_FRAMES,
    cores=(
        "repeat this list: {x}", "repeat these words: {x}", "say this list again: {x}",
        "copy this list: {x}", "write this list again: {x}", "write the same list: {x}",
        "echo these items: {x}", "say exactly the same: {x}", "repeat the following: {x}",
        "say it one more time: {x}", "write it once again: {x}", "repeat exactly: {x}",
        "list the same things again: {x}", "say this: {x}", "write this: {x}",
        "give me the same list again: {x}",
    ),
)  # fmt: skip
REVERSE = Wordings(
    train=(
        "Reverse: {x}", "Reverse this list: {x}", "Say this list backwards: {x}",
        "Turn this list around: {x}", "Reverse the order of {x}.", "Write {x} in reverse order.",
        "Please reverse {x}.", "From last to first: {x}", "What is {x} in reverse?",
    ),
    held_out=("Give me this list in reverse order: {x}", "List these backwards: {x}"),
    frames=TASK_FRAMES,
    cores=(
        "reverse this list: {x}", "reverse the order: {x}", "turn this list around: {x}",
        "write this list backwards: {x}", "say these words backwards: {x}",
        "read this list from the end: {x}", "give me the reverse of this list: {x}",
        "list these from last to first: {x}", "put these in reverse order: {x}",
        "reverse these items: {x}", "start with the last and end with the first: {x}",
        "write the items in reverse order: {x}",
    ),
)  # fmt: skip
SORT_WORDS = Wordings(
    train=(
        "Sort: {x}", "Sort this list: {x}", "Sort these words: {x}", "Please sort {x}.",
        "Put these words in alphabetical order: {x}", "Sort {x} alphabetically.",
        "Alphabetical order: {x}", "Order these words from A to Z: {x}",
    ),
    held_out=("Give me this list sorted: {x}", "Arrange in alphabetical order: {x}"),
    frames=TASK_FRAMES,
    cores=(
        "sort this list: {x}", "sort these words: {x}", "sort this: {x}",
        "put this in alphabetical order: {x}", "order these words from A to Z: {x}",
        "write these words in alphabetical order: {x}", "give me these words in order: {x}",
        "arrange these words alphabetically: {x}", "sort these words alphabetically: {x}",
        "write this list sorted: {x}", "tell me these words sorted: {x}",
        "list these in order: {x}", "bring this list into alphabetical order: {x}",
    ),
)  # fmt: skip
SORT_NUMBERS = Wordings(
    train=(
        "Sort: {x}", "Sort this list: {x}", "Sort these numbers: {x}", "Please sort {x}.",
        "Put these numbers in order: {x}", "Sort {x} from small to large.",
        "Ascending order: {x}", "Order these numbers from low to high: {x}",
    ),
    held_out=("Give me this list sorted: {x}", "Arrange from smallest to largest: {x}"),
    frames=TASK_FRAMES,
    cores=(
        "sort this list: {x}", "sort these numbers: {x}", "sort this: {x}",
        "put these numbers in order: {x}", "order these from the smallest to the largest: {x}",
        "write these numbers in ascending order: {x}", "arrange these numbers by size: {x}",
        "sort the numbers from low to high: {x}", "write this list sorted: {x}",
        "tell me these numbers sorted: {x}", "list these in order: {x}",
        "bring these numbers into order: {x}", "begin with the smallest number: {x}",
    ),
)  # fmt: skip
COUNT = Wordings(
    train=(
        "How many items are in this list: {x}", "Count the items: {x}", "Count: {x}",
        "How many things are here: {x}", "How long is this list: {x}", "How many? {x}",
        "How many words are in this list: {x}", "Count these: {x}",
    ),
    held_out=("Please count how many items I list: {x}", "The number of items in {x}?"),
    frames=TASK_FRAMES,
    cores=(
        "count these items: {x}", "count the words: {x}", "count the items in this list: {x}",
        "tell me how many items these are: {x}", "say how many words are here: {x}",
        "tell me the number of items: {x}", "find out how long this list is: {x}",
        "count how many things I list: {x}", "give me the number of words: {x}",
        "write how many there are: {x}", "count: {x}",
    ),
)  # fmt: skip
COUNT_UP = Wordings(
    train=(
        "Count from {a} to {b}.", "Count from {a} up to {b}.", "Please count from {a} to {b}.",
        "List the numbers from {a} to {b}.", "Say the numbers {a} to {b}.", "Count {a} to {b}",
    ),
    held_out=("Can you count from {a} to {b}?", "Write all numbers from {a} to {b}."),
    frames=TASK_FRAMES,
    cores=("count from {a} to {b}", "count up from {a} to {b}", "list the numbers from {a} to {b}",
           "write all numbers between {a} and {b}", "say every number from {a} to {b}",
           "start at {a} and count to {b}", "name the numbers {a} to {b}"),
)  # fmt: skip
UPPER = Wordings(
    train=("Write {x} in upper case.", "Put {x} in capital letters.", "{x} in capitals?",
           "Upper case: {x}", "Shout {x}.", "Make {x} upper case."),
    held_out=("Please write {x} with capital letters.",),
    frames=TASK_FRAMES,
    cores=("write {x} in upper case", "write {x} in capital letters", "put {x} in capitals",
           "make {x} upper case", "spell {x} with capital letters only"),
)  # fmt: skip


def list_task(rng: random.Random, split: Split) -> Exchange:
    """One of the tasks with a list."""
    return rng.choice((repeat, reverse, sort_words, sort_numbers, count, count_up))(rng, split)


def repeat(rng: random.Random, split: Split) -> Exchange:
    """The list again, as it was written."""
    items = _items(rng, split, 2, 7)
    if rng.random() < 0.2:
        items = _on_side(rng, split, lambda: [_sentence(rng, split)])
    return _task(rng, split, REPEAT.pick(rng, split), items, ", ".join(items))


def reverse(rng: random.Random, split: Split) -> Exchange:
    """The list from its last item to its first."""
    items = _items(rng, split, 3, 6)
    return _task(rng, split, REVERSE.pick(rng, split), items, ", ".join(reversed(items)))


def sort_words(rng: random.Random, split: Split) -> Exchange:
    """Common words in alphabetical order."""
    items = _on_side(rng, split, lambda: rng.sample(COMMON_WORDS, rng.randint(3, 5)))
    return _task(rng, split, SORT_WORDS.pick(rng, split), items, ", ".join(sorted(items)))


def sort_numbers(rng: random.Random, split: Split) -> Exchange:
    """Numbers up to 99, ascending."""
    items = _on_side(rng, split, lambda: _numbers(rng, rng.randint(3, 6)))
    return _task(
        rng, split, SORT_NUMBERS.pick(rng, split), items, ", ".join(sorted(items, key=int))
    )


def count(rng: random.Random, split: Split) -> Exchange:
    """How many items a list has."""
    items = _items(rng, split, 2, 9)
    return _task(rng, split, COUNT.pick(rng, split), items, str(len(items)))


def count_up(rng: random.Random, split: Split) -> Exchange:
    """The numbers of a range, whose pair of ends may be held out."""
    while True:
        start = 1 if rng.random() < 0.15 else rng.randint(0, 90)
        end = start + rng.randint(3, 10)
        if split_of("range", start, end) is split:
            break
    wording = COUNT_UP.pick(rng, split)
    if start == 1 and split is Split.TRAIN and rng.random() < 0.5:
        wording = rng.choice(("Count to {b}.", "Count to {b}", "Can you count to {b}?"))
    numbers = ", ".join(str(number) for number in range(start, end + 1))
    return ask(SKILL, wording.format(a=start, b=end), numbers)


def upper_case(rng: random.Random, split: Split) -> Exchange:
    """One word in capital letters."""
    word = made_up_word(rng, split) if rng.random() < 0.7 else rng.choice(COMMON_WORDS)
    word = word.capitalize() if rng.random() < 0.4 else word
    return ask("upper case", UPPER.pick(rng, split).format(x=word), word.upper())


def _sentence(rng: random.Random, split: Split) -> str:
    who, verb = rng.choice(("I", "We", "They", "You")), rng.choice(("like", "see", "want", "need"))
    thing = made_up_word(rng, split) if rng.random() < 0.3 else rng.choice(COMMON_WORDS)
    return f"{who} {verb} {thing}{rng.choice(('', 's', ' and ' + rng.choice(COMMON_WORDS)))}"


def _items(rng: random.Random, split: Split, fewest: int, most: int) -> list[str]:
    def drawn() -> list[str]:
        size = rng.randint(fewest, most)
        kind = rng.random()
        if kind < 0.25:
            return _numbers(rng, size)
        if kind < 0.4:
            return [made_up_word(rng, split) for _ in range(size)]
        if kind < 0.5:
            return rng.sample(FIRST_NAMES, size)
        if kind < 0.55:
            return rng.sample(SYMBOLS, size)
        return rng.sample(FRUITS if kind < 0.65 else COMMON_WORDS, size)

    return _on_side(rng, split, drawn)


def _numbers(rng: random.Random, size: int) -> list[str]:
    return [str(number) for number in rng.sample(range(100), size)]


def _on_side(rng: random.Random, split: Split, drawn: Callable[[], list[str]]) -> list[str]:
    while True:
        items = drawn()
        if split_of("list", *items) is split:
            return items


def _task(
    rng: random.Random, split: Split, wording: str, items: list[str], answer: str
) -> Exchange:
    question = opened(rng, split, wording.format(x=", ".join(items)))
    return ask(SKILL, question, answer)
