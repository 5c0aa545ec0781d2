"""Something told in an earlier turn, asked for later: names, numbers and a few other things.

Names are mostly made up, so that they can only be copied; between the telling and the asking stand
exchanges of other skills, up to the whole context. Held out are the values (by their content) and
some wordings.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from legato.training.chat import Exchange, ask
from legato.training.skills.asking import QUESTION_FRAMES, opened
from legato.training.split import Split, Wordings, draw
from legato.training.words import ANIMALS, COLOURS, DAYS, FOODS, JOBS, person, place

SKILL = "memory"
Make = Callable[[random.Random, Split], str]


@dataclass(frozen=True, slots=True)
class Memory:
    """One kind of thing to remember: how it is made, told, confirmed, asked for and recalled."""

    make: Make
    tell: Wordings
    confirm: str
    question: Wordings
    recall: str


def _number(rng: random.Random, split: Split) -> str:
    return draw(rng, split, lambda r: str(r.randrange(10 ** r.choice((1, 2, 2, 3, 3, 4, 5)))))


_TELL = (
    "@.", "hi, @.", "hello, @.", "remember that @.", "please remember that @.", "I say that @.",
    "you should know that @.", "note that @.", "do not forget that @.", "by the way, @.", "@!",
    "keep in mind that @.", "good morning, @.", "just so you know, @.", "listen: @.", "hey, @!",
    "today I tell you that @.", "let me tell you that @.", "I want you to know that @.", "so, @.",
    "can you remember that @?", "please do not forget that @.", "it is a fact that @.", "now, @.",
)  # fmt: skip

MEMORIES = (
    Memory(
        person,
        Wordings(
            ("My name is {x}.", "I am {x}.", "Hi, I am {x}.", "Hello, my name is {x}.", "I'm {x}.",
             "Call me {x}.", "You can call me {x}.", "People call me {x}.", "Hi! {x} here.",
             "Please remember that my name is {x}.", "This is {x}.", "Hey, I'm {x}!",
             "Good morning, my name is {x}.", "Remember my name: {x}."),
            ("Good day, I am {x}.", "Hello! People call me {x}.", "Hi, my name is {x}, ok?"),
            _TELL,
            (
        "my name is {x}", "I am called {x}", "I am {x}", "people call me {x}",
        "my friends call me {x}", "they call me {x}", "I have the name {x}",
    ),
        ),
        "Nice to meet you, {x}!",
        Wordings(
            ("What is my name?", "What's my name?", "Who am I?", "Do you remember my name?",
             "Tell me my name.", "How am I called?", "Say my name.", "Do you know my name?",
             "What did I say my name is?", "My name is?", "Which name did I tell you?"),
            ("Can you tell me my name?", "Do you still know my name?", "And what is my name?"),
            QUESTION_FRAMES,
            (
        "my name", "the name I told you", "my own name", "the name that I have",
        "my first name",
    ),
        ),
        "Your name is {x}.",
    ),
    Memory(
        _number,
        Wordings(
            ("Remember the number {x}.", "Please remember {x}.", "The number is {x}.",
             "My number is {x}.", "Keep the number {x} in mind.", "My lucky number is {x}.",
             "The secret number is {x}.", "Remember this number: {x}", "Store the number {x}.",
             "Do not forget the number {x}.", "Note the number {x}.", "My code is the number {x}."),
            ("Please keep this number in mind: {x}", "Can you remember the number {x}?"),
            _TELL,
            (
        "the number is {x}", "my number is {x}", "the secret number is {x}",
        "my lucky number is {x}", "{x} is my number", "the number to remember is {x}",
    ),
        ),
        "I will remember the number {x}.",
        Wordings(
            ("What is the number?", "What was the number?", "Which number did I tell you?",
             "What was my number?", "Tell me the number.", "What number did I say?",
             "Do you remember the number?", "Say the number again.", "What is my number?",
             "Which number should you remember?", "And the number?", "Give me the number."),
            ("Can you tell me the number?", "Do you still know the number?"),
            QUESTION_FRAMES,
            (
        "the number", "my number", "the number I told you", "the number from before",
        "the number that you should remember",
    ),
        ),
        "The number is {x}.",
    ),
    Memory(
        place,
        Wordings(
            ("I live in {x}.", "My home is in {x}.", "I come from {x}.", "My town is {x}.",
             "I moved to {x}.", "My house is in {x}."),
            ("My home town is {x}.", "At present I live in {x}."),
            _TELL,
            (
        "I live in {x}", "my home is in {x}", "I come from {x}", "my town is {x}",
        "my house stands in {x}", "{x} is my home",
    ),
        ),
        "{x} sounds like a nice place.",
        Wordings(
            ("Where do I live?", "Which town do I live in?", "Where is my home?",
             "Do you remember where I live?", "What is my town?"),
            ("Can you tell me where I live?", "Do you still know where I live?"),
            QUESTION_FRAMES,
            (
        "my town", "the town I live in", "the place where I live", "my home",
        "the name of my town",
    ),
        ),
        "You live in {x}.",
    ),
    Memory(
        person,
        Wordings(
            ("My {a} is called {x}.", "I have a {a} with the name {x}.", "My {a}'s name is {x}.",
             "The name of my {a} is {x}.", "I have a {a}. It is called {x}."),
            ("I own a {a} that is called {x}.", "Let me tell you of my {a} {x}."),
            _TELL,
            (
        "my {a} is called {x}", "I have a {a} named {x}", "the name of my {a} is {x}",
        "{x} is my {a}", "there is my {a} {x}", "I own a {a} with the name {x}",
    ),
        ),
        "{x} is a good name for a {a}.",
        Wordings(
            ("What is my {a} called?", "What is the name of my {a}?", "How is my {a} called?",
             "Do you remember the name of my {a}?", "Tell me my {a}'s name."),
            ("Can you tell me the name of my {a}?", "Do you still know what my {a} is called?"),
            QUESTION_FRAMES,
            (
        "the name of my {a}", "my {a}'s name", "the name that my {a} has",
        "the name of the {a}", "the name I gave my {a}",
    ),
        ),
        "Your {a} is called {x}.",
    ),
    Memory(
        lambda rng, split: rng.choice((*COLOURS, *FOODS, *DAYS, *JOBS)),
        Wordings(
            ("The secret word is {x}.", "Remember the word {x}.", "The password is {x}.",
             "Keep the word {x} in mind.", "Please remember this word: {x}"),
            ("Please do not forget the word {x}.", "Can you remember the word {x}?"),
            _TELL,
            (
        "the secret word is {x}", "the word is {x}", "the password is {x}", "my word is {x}",
        "{x} is the word",
    ),
        ),
        "I will remember the word {x}.",
        Wordings(
            ("What is the secret word?", "What was the word?", "Which word did I tell you?",
             "Tell me the word.", "Do you remember the word?", "What is the password?"),
            ("Can you tell me the word?", "Do you still know the word?"),
            QUESTION_FRAMES,
            (
        "the word", "the secret word", "the word I told you", "the password",
        "the word from before",
    ),
        ),
        "The word is {x}.",
    ),
)  # fmt: skip
_WEIGHTS = (5, 4, 2, 2, 2)


def memory_pairs(rng: random.Random, split: Split, count: int) -> list[tuple[Exchange, Exchange]]:
    """`count` memories of different kinds: the telling and the later asking."""
    kinds: list[Memory] = []
    while len(kinds) < count:
        kind = rng.choices(MEMORIES, weights=_WEIGHTS)[0]
        if kind not in kinds:
            kinds.append(kind)
    return [_pair(rng, split, kind) for kind in kinds]


def never_told(rng: random.Random, split: Split) -> Exchange:
    """A question for something that was not told; for the start of a conversation only."""
    wording = rng.choices(MEMORIES, weights=_WEIGHTS)[0].question.pick(rng, split)
    question = opened(rng, split, wording.format(a=rng.choice(ANIMALS)))
    return ask("never told", question, "You have not told me.")


def _pair(rng: random.Random, split: Split, memory: Memory) -> tuple[Exchange, Exchange]:
    fields = {"x": memory.make(rng, split), "a": rng.choice(ANIMALS)}
    tell, question = memory.tell.pick(rng, split), memory.question.pick(rng, split)
    told = ask(SKILL, tell.format(**fields), memory.confirm.format(**fields))
    recall = memory.recall.format(**fields)
    return told, ask(SKILL, opened(rng, split, question.format(**fields)), recall, fields["x"])
