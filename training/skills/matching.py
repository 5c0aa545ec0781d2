"""A table in the question: which name stands for a thing, or what a name stands for.

The short relative of choosing a tool by its description: many made-up pairs to match in few tokens,
and several questions about one table.
"""

import random

from legato.training.chat import Exchange, ask, to_json
from legato.training.skills.toolbox import LOOKUP_TEXTS, subject, topic
from legato.training.split import Split
from legato.training.words import made_up_word

SKILL = "matching"
_LAYOUTS = (("{k}: {v}", "\n"), ("{k} = {v}", "\n"), ("{k}: {v}", "; "), ("- {k}: {v}", "\n"))
_ASK_NAME = (
    "Which name stands for the {t}?", "What do I use for the {t}?", "Which one gives the {t}?",
    "I need the {t}. Which name is it?", "Name for the {t}?", "Which of them has the {t}?",
    "{t}?", "Find the name for {t}.", "Where do I get the {t}?", "Who tells me the {t}?",
)  # fmt: skip
_ASK_TEXT = ("What is {k}?", "What does {k} do?", "Tell me about {k}.", "{k}?", "Explain {k}.")


def match(rng: random.Random, split: Split) -> Exchange:
    """A table of 2 to 6 lines and a question that one of them answers."""
    table = _table(rng, split, rng.randint(2, 6))
    question, answer = _question(rng, table)
    shown = _shown(rng, {name: text for name, (_, text) in table.items()})
    parts = (shown, question) if rng.random() < 0.7 else (question, shown)
    return ask(SKILL, "\n".join(parts), answer)


def matches(rng: random.Random, split: Split) -> list[Exchange]:
    """A table of 4 to 12 lines and, turn by turn, 4 to 8 questions that it answers."""
    table = _table(rng, split, rng.randint(4, 12))
    shown = _shown(rng, {name: text for name, (_, text) in table.items()})
    asked = [_question(rng, table) for _ in range(rng.randint(4, 8))]
    first = f"{shown}\n{asked[0][0]}"
    questions = [first, *(question for question, _ in asked[1:])]
    return [
        ask(SKILL, question, answer) for question, (_, answer) in zip(questions, asked, strict=True)
    ]


def _table(rng: random.Random, split: Split, size: int) -> dict[str, tuple[str, str]]:
    """For up to `size` different names: a topic, and a text that tells it."""
    table: dict[str, tuple[str, str]] = {}
    topics: set[str] = set()
    for _ in range(size):
        about, name = topic(rng, split), _name(rng, split)
        if about in topics or name in table:
            continue
        topics.add(about)
        text = rng.choice(LOOKUP_TEXTS).format(t=about, s=subject(rng, split))
        table[name] = about, text
    return table


def _question(rng: random.Random, table: dict[str, tuple[str, str]]) -> tuple[str, str]:
    """A question for one line of the table, and its answer."""
    name = rng.choice(list(table))
    about, text = table[name]
    if rng.random() < 0.7:
        return rng.choice(_ASK_NAME).format(t=about), name
    return rng.choice(_ASK_TEXT).format(k=name), text


def _name(rng: random.Random, split: Split) -> str:
    word = made_up_word(rng, split)
    return f"{word}_{made_up_word(rng, split)}" if rng.random() < 0.3 else word


def _shown(rng: random.Random, table: dict[str, str]) -> str:
    if rng.random() < 0.4:
        rows = ({"name": name, "description": text} for name, text in table.items())
        return "\n".join(to_json(row) for row in rows)
    layout, end = rng.choice(_LAYOUTS)
    return end.join(layout.format(k=name, v=text) for name, text in table.items())
