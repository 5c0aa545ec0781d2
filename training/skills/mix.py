"""The mix of documents to train on: single tasks, long conversations over many tasks, plain text.

A conversation has at most one system rule or one list of tools, which hold for all its turns; its
exchanges are drawn from the skills, with memories told early and asked for late. About one
conversation in six is long enough to fill the context. Tools have the largest share: finding the
one that fits in a list of several takes the model longer to learn than all else.
"""

import random
from collections.abc import Callable

from legato.training.chat import Document, Exchange, Message, Tool
from legato.training.skills.arithmetic import arithmetic
from legato.training.skills.extraction import extraction
from legato.training.skills.facts import fact, unknown, unknown_topic
from legato.training.skills.greeting import greeting
from legato.training.skills.lists import list_task, upper_case
from legato.training.skills.matching import match, matches
from legato.training.skills.memory import memory_pairs, never_told
from legato.training.skills.rules import name_some, ruled
from legato.training.skills.stories import story, story_task
from legato.training.skills.tools import tool_call, tool_use, toolbox, two_calls, used
from legato.training.split import Split
from legato.training.words import made_up_name

Task = Callable[[random.Random, Split], Exchange]

FREE_TASKS: tuple[tuple[Task, float], ...] = (
    (fact, 3.0), (arithmetic, 3.0), (list_task, 3.0), (greeting, 1.0), (unknown, 0.8),
    (upper_case, 0.6), (name_some, 0.3), (extraction, 2.0), (story_task, 0.5), (match, 2.5),
)  # fmt: skip
SINGLE_TASKS: tuple[tuple[Task, float], ...] = (
    (extraction, 2.0), (story_task, 1.0), (arithmetic, 1.0), (list_task, 1.0), (fact, 1.0),
    (greeting, 1.0), (match, 1.5), (never_told, 0.3),
)  # fmt: skip
SYSTEMS = (
    "You are a helpful assistant.", "You are Legato Tiny, a toy model.", "You are a friendly bot.",
    "You are a helpful AI assistant.", "Be kind and short.", "You help people.", "Be helpful.",
    "You are a chat bot on a web page.", "Answer the questions of the user.", "Be polite.",
    "You are a test model.", "You answer questions.", "Help the user.", "Be precise.",
)  # fmt: skip


def document(rng: random.Random, split: Split) -> Document:
    """One document, of a kind drawn at random."""
    kinds: tuple[Callable[[random.Random, Split], Document], ...] = (
        _free, _ruled, _with_memory, _with_tools, _with_table, _single, _plain_text,
    )  # fmt: skip
    return rng.choices(kinds, weights=(18, 10, 12, 48, 9, 18, 2))[0](rng, split)


def free_task(rng: random.Random, split: Split) -> Exchange:
    """A task that needs no system prompt and no tools."""
    tasks, weights = zip(*FREE_TASKS, strict=True)
    while True:
        task: Task = rng.choices(tasks, weights)[0]
        exchange = task(rng, split)
        if not exchange.system:
            return exchange


def memory_conversation(rng: random.Random, split: Split, between: int) -> list[Exchange]:
    """Memories told, `between` free tasks in all, the memories asked for; the last is a memory."""
    pairs = memory_pairs(rng, split, rng.choice((1, 1, 2, 3)))
    told, asked = [list(side) for side in zip(*pairs, strict=True)]
    rng.shuffle(asked)
    tasks = [free_task(rng, Split.TRAIN) for _ in range(between)]
    for exchange in asked[:-1]:
        tasks.insert(rng.randint(0, len(tasks)), exchange)
    return [*told, *tasks, asked[-1]]


def conversation(exchanges: list[Exchange], system: str = "") -> Document:
    """The exchanges as one conversation under one system prompt."""
    head: tuple[Message, ...] = ({"role": "system", "content": system},) if system else ()
    turns = tuple(message for exchange in exchanges for message in exchange.messages)
    tools: tuple[Tool, ...] = next((each.tools for each in exchanges if each.tools), ())
    return Document((*head, *turns), tools)


def _free(rng: random.Random, split: Split) -> Document:
    return conversation([free_task(rng, split) for _ in range(_length(rng))], _system(rng, split))


def _single(rng: random.Random, split: Split) -> Document:
    tasks, weights = zip(*SINGLE_TASKS, strict=True)
    exchange: Exchange = rng.choices(tasks, weights)[0](rng, split)
    return conversation([exchange], exchange.system or _system(rng, split))


def _ruled(rng: random.Random, split: Split) -> Document:
    exchanges = ruled(rng, split, rng.randint(1, 6))
    return conversation(exchanges, exchanges[0].system)


def _with_memory(rng: random.Random, split: Split) -> Document:
    between = rng.choice((0, 0, 1, 2, 3, 4, 6, 10, 16, 24))
    return conversation(memory_conversation(rng, split, between), _system(rng, split))


def _with_tools(rng: random.Random, split: Split) -> Document:
    """One request, or several turns with one list of tools, some of which need no tool."""
    if rng.random() < 0.4:
        exchange = rng.choices((tool_call, tool_use, two_calls), weights=(10, 9, 1))[0](rng, split)
        return conversation([exchange], _system(rng, split))
    jobs = toolbox(rng, split)
    rng.shuffle(jobs)
    tools = tuple(job.tool for job in jobs)
    exchanges = [Exchange("tool result", used(rng, split, job), tools=tools) for job in jobs]
    tasks: tuple[Task, ...] = (fact, greeting, arithmetic, unknown_topic)
    for task in rng.choices(tasks, weights=(4, 3, 3, 1), k=rng.randint(0, 2)):
        other = task(rng, split)
        exchanges.insert(rng.randint(0, len(exchanges)), other)
    return Document(conversation(exchanges, _system(rng, split)).messages, tools)


def _with_table(rng: random.Random, split: Split) -> Document:
    return conversation(matches(rng, split), _system(rng, split))


def _plain_text(rng: random.Random, split: Split) -> Document:
    if rng.random() < 0.7:
        return Document(text=story(rng, split).text)
    return Document(text=" ".join(fact(rng, split).answer for _ in range(rng.randint(1, 8))))


def _length(rng: random.Random) -> int:
    return rng.choice((1, 1, 2, 2, 3, 4, 5, 8, 14, 22))


def _system(rng: random.Random, split: Split) -> str:
    if rng.random() < 0.6:
        return ""
    name = made_up_name(rng, split)
    return rng.choice((*SYSTEMS, f"You are {name}, a helpful bot.", f"You work for {name}."))
