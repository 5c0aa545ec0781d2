"""Small templated stories: told, continued and told again.

A story is an opening, a plot's steps in order and an ending, one sentence form for each. Held out
are the cast (hero, friend, place and thing, by content) and some wordings of the question.
"""

import random
import re
from dataclasses import dataclass

from legato.training.chat import Exchange, assistant, user
from legato.training.skills.asking import TASK_FRAMES
from legato.training.skills.plots import ENDING, HOME, LAST, MORNING, OPENING, PLOTS
from legato.training.split import Split, Wordings, split_of
from legato.training.words import COLOURS, FOODS, made_up_word, person, words

SKILL = "stories"
KINDS = words(
    "fox bear rabbit mouse frog bird dog cat wolf duck goat deer girl boy child farmer baker "
    "sailor painter"
)
PLACES = words("river hill lake forest mountain beach island field")
THINGS = words("ball kite drum bell map key lamp hat ring book mirror basket coin bottle")
PAINTS = tuple(colour for colour in COLOURS if colour != "orange")  # all take "a", none "an"
_SLOT = re.compile(r"\{\w+\}")

TELL = Wordings(
    train=(
        "Tell me a story about {n} the {k}.", "Tell me a story about a {k} called {n}.",
        "Write a short story about a {k} named {n}.", "I want to hear a story about {n} the {k}.",
        "Please tell a story. The hero is {n}, a {k}.", "A story about {n} the {k}, please.",
        "Once more a story! This time about {n}, a {k}.", "Make up a story about {n} the {k}.",
    ),
    held_out=("Can you tell me a story about {n} the {k}?", "Please write a tale of {n} the {k}."),
    frames=TASK_FRAMES,
    cores=(
        "tell me a story about {n} the {k}", "write a story about a {k} called {n}",
        "tell a tale of {n} the {k}", "make up a story about {n}, a {k}",
        "invent a story about a {k} named {n}", "write a short tale of the {k} {n}",
        "tell the story of {n} the {k}", "write about {n} the {k}",
    ),
)  # fmt: skip
TELL_ANY = Wordings(
    train=("Tell me a story.", "Tell me a story!", "Write a short story.", "A story, please.",
           "Please tell a story.", "Can you tell me a story?", "Tell me a short story.",
           "Tell me a story about a {k}.", "Write a story about a {k}.",
           "A tale of a {k}, please."),
    held_out=("I would like to hear a story.", "Please write a story for me."),
    frames=TASK_FRAMES,
    cores=(
        "tell me a story", "write a story", "tell a tale", "make up a story",
        "invent a short story", "write a small tale for me", "tell me a story about a {k}",
        "tell a tale of a {k}", "make up a story with a {k}",
    ),
)  # fmt: skip
CONTINUE = Wordings(
    train=(
        "Continue this story: {x}", "Go on with this story: {x}", "How does it go on? {x}",
        "Finish this story: {x}", "Please continue: {x}", "What happens next? {x}", "{x}\nGo on.",
    ),
    held_out=("Please go on with the story: {x}", "Write the rest of this story: {x}"),
    frames=TASK_FRAMES,
    cores=(
        "continue this story: {x}", "go on with the story: {x}", "finish this story: {x}",
        "write how the story goes on: {x}", "tell me how it ends: {x}", "write the rest: {x}",
        "tell the rest of the story: {x}", "write what happens next: {x}",
    ),
)  # fmt: skip
RETELL = Wordings(
    train=(
        "Tell this story again: {x}", "Tell it again: {x}", "Repeat this story: {x}",
        "Please retell this story: {x}", "{x}\nTell me this story once more.", "Retell: {x}",
    ),
    held_out=("Can you tell this story again? {x}", "Say this story once more: {x}"),
    frames=TASK_FRAMES,
    cores=(
        "tell this story again: {x}", "repeat this story: {x}", "retell this story: {x}",
        "tell the same story: {x}", "say this story again: {x}",
        "write this story once more: {x}", "tell it one more time: {x}",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Story:
    """A story's sentences, its hero and the hero's kind."""

    sentences: tuple[str, ...]
    hero: str
    kind: str

    @property
    def text(self) -> str:
        """The whole story as one paragraph."""
        return " ".join(self.sentences)


def story(rng: random.Random, split: Split) -> Story:
    """A story whose cast lies on the side `split`."""
    slots = _cast(rng, split)
    plot = rng.choice(PLOTS)
    steps = [rng.choice(forms) for forms in (OPENING, HOME, MORNING, *plot, ENDING, LAST)]
    if rng.random() < 0.3:
        del steps[1]
    return Story(tuple(step.format(**slots) for step in steps), slots["n"], slots["k"])


def tell(rng: random.Random, split: Split) -> Exchange:
    """A story about a hero who is named, or about anyone."""
    told = story(rng, split)
    named = split is Split.HELD_OUT or rng.random() < 0.8
    wording = (TELL if named else TELL_ANY).pick(rng, split).format(n=told.hero, k=told.kind)
    return Exchange(SKILL, (user(wording), assistant(told.text)), key=told.hero)


def continuation(rng: random.Random, split: Split) -> Exchange:
    """The rest of a story whose first sentences are given."""
    told = story(rng, split)
    given = rng.randint(1, 3)
    start, rest = " ".join(told.sentences[:given]), " ".join(told.sentences[given:])
    question = CONTINUE.pick(rng, split).format(x=start)
    return Exchange(SKILL, (user(question), assistant(rest)), key=told.hero)


def retelling(rng: random.Random, split: Split) -> Exchange:
    """The story that is given, word for word."""
    told = story(rng, split)
    question = RETELL.pick(rng, split).format(x=told.text)
    return Exchange("retelling", (user(question), assistant(told.text)), key=told.text)


def story_task(rng: random.Random, split: Split) -> Exchange:
    """One of the three."""
    return rng.choice((tell, tell, continuation, continuation, retelling))(rng, split)


def sentence_patterns() -> tuple[re.Pattern[str], ...]:
    """One pattern for each sentence form of the grammar, any word in its slots."""
    groups = (OPENING, HOME, MORNING, ENDING, LAST, *(forms for plot in PLOTS for forms in plot))
    return tuple(_pattern(form) for forms in groups for form in forms)


def _pattern(form: str) -> re.Pattern[str]:
    parts = (re.escape(part) for part in _SLOT.split(form))
    return re.compile(r"[A-Za-z]+".join(parts))


def _cast(rng: random.Random, split: Split) -> dict[str, str]:
    while True:
        hero, friend = person(rng, split), person(rng, split)
        unusual = split is Split.TRAIN and rng.random() < 0.2
        kind = made_up_word(rng, split) if unusual else rng.choice(KINDS)
        if kind[0] in "aeiou":  # the forms say "a", never "an"
            continue
        friend_kind = rng.choice(KINDS[:12])
        place, thing = rng.choice(PLACES), rng.choice(THINGS)
        if hero != friend and split_of("cast", hero, friend, place, thing) is split:
            break
    she = rng.random() < 0.5
    return {
        "n": hero, "k": kind, "f": friend, "g": friend_kind, "w": place, "t": thing,
        "s": "she" if she else "he", "S": "She" if she else "He",
        "p": "her" if she else "his", "p_": "Her" if she else "His",
        "c": rng.choice(PAINTS), "e": rng.choice(FOODS),
    }  # fmt: skip
