"""The evaluation: for each skill its held-out items, how answers are judged, and the threshold.

item = prompt (messages and tools up to the answer)  +  the wanted exchange
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from legato.training import scoring
from legato.training.chat import Exchange, Message, Tool
from legato.training.skills.arithmetic import arithmetic
from legato.training.skills.extraction import extraction
from legato.training.skills.facts import fact
from legato.training.skills.greeting import greeting
from legato.training.skills.lists import list_task
from legato.training.skills.mix import conversation, memory_conversation
from legato.training.skills.rules import rule
from legato.training.skills.stories import continuation, retelling, tell
from legato.training.skills.tools import tool_call, tool_use
from legato.training.split import Split


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt and the exchange whose last message is the wanted answer."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    wanted: Exchange


@dataclass(frozen=True, slots=True)
class Exam:
    """One row of the evaluation's table."""

    name: str
    make: Callable[[random.Random], Item]
    right: Callable[[str, Exchange], bool]
    threshold: float
    num_items: int = 300
    max_tokens: int = 64

    def items(self) -> Iterator[Item]:
        """Items without end, the same in every run."""
        rng = random.Random(f"exam {self.name}")
        while True:
            yield self.make(rng)


Make = Callable[[random.Random, Split], Exchange]


def _alone(make: Make) -> Callable[[random.Random], Item]:
    """Items of one held-out exchange in a fresh conversation."""

    def item(rng: random.Random) -> Item:
        exchange = make(rng, Split.HELD_OUT)
        whole = conversation([exchange], exchange.system)
        return Item(whole.messages[:-1], exchange.tools, exchange)

    return item


def _remembered(fewest: int, most: int) -> Callable[[random.Random], Item]:
    """Items that ask for something told before other turns, `fewest` to `most` of them."""

    def item(rng: random.Random) -> Item:
        exchanges = memory_conversation(rng, Split.HELD_OUT, rng.randint(fewest, most))
        return Item(conversation(exchanges).messages[:-1], (), exchanges[-1])

    return item


EXAMS = (
    Exam("greeting and identity", _alone(greeting), scoring.has_key, 0.95),
    Exam("capitals, colours, opposites", _alone(fact), scoring.has_key, 0.97, 600),
    Exam("addition, subtraction", _alone(arithmetic), scoring.same_number, 0.95, 600),
    Exam("count, reverse, sort, repeat", _alone(list_task), scoring.same_text, 0.90, 600),
    Exam("stories: tell", _alone(tell), scoring.is_story, 0.90, 100, 400),
    Exam("stories: continue", _alone(continuation), scoring.is_story, 0.90, 100, 400),
    Exam("stories: tell again", _alone(retelling), scoring.same_text, 0.90, 100, 400),
    Exam("rule of the system prompt", _alone(rule), scoring.same_text, 0.90, 300, 128),
    Exam("memory, 0 to 6 turns between", _remembered(0, 6), scoring.has_key, 0.95),
    Exam("memory, 12 to 16 turns between", _remembered(12, 16), scoring.has_key, 0.95, 200),
    Exam("JSON for a schema", _alone(extraction), scoring.same_json, 0.98, 600, 160),
    Exam("tool call", _alone(tool_call), scoring.same_calls, 0.90, 600, 160),
    Exam("tool result", _alone(tool_use), scoring.same_text, 0.90, 300, 96),
)
