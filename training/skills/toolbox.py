"""Made tools: a function's schema, a request that needs it, and the arguments of the right call.

Two sorts. A lookup gets one topic of one subject ("the weather of a city"): its name, its topic and
its parameter may all be words that training never saw, so the model has to match the request with a
description and copy. An action takes several arguments that the request tells in words of its own,
or by the names of the parameters.

Held out by content: tools' names, parameters' names, values; by hand: topics, subjects, wordings.
Training draws topics, subjects and parameters' names from many words, made-up ones among them: with
few, each subject would be known by heart, and a new one taken for a topic.
"""

import random
from dataclasses import dataclass
from typing import Any

from legato.training.chat import Tool
from legato.training.skills.actions import ACTIONS, Value, two_words
from legato.training.skills.asking import QUESTION_FRAMES, TASK_FRAMES, opened
from legato.training.split import Split, Wordings, draw
from legato.training.words import (
    CITIES,
    COMMON_WORDS,
    code,
    made_up_name,
    made_up_word,
    noun,
    person,
    place,
    words,
)


@dataclass(frozen=True, slots=True)
class Job:
    """A tool, and one request that calls it.

    `topic` tells this sort of tool from others in a list; `value` is what the request is about.
    """

    tool: Tool
    request: str
    arguments: dict[str, Value]
    topic: str
    value: Value

    @property
    def name(self) -> str:
        """The tool's name."""
        return str(self.tool["function"]["name"])


TOPICS = Wordings(
    train=(
        "phone number",
        "opening time",
        *words(
            "weather price population time temperature status owner address height colour size age "
            "manager mayor language currency area birthday salary menu score weight balance map "
            "schedule stock website founder deadline room seat title rank"
        ),
    ),
    held_out=words(
        "humidity altitude rating distance director postcode holiday speed nickname climate"
    ),
)
SUBJECTS = Wordings(
    train=("city", "town", "person", "product", "company", "user", "country", "place", "parcel",
           "street", "team", "customer", "worker", "school", "shop", "book", "hotel", "location"),
    held_out=("village", "teacher", "museum", "station", "project"),
)  # fmt: skip
LOOKUP_NAMES = words(
    "get_{t} find_{t} {t}_lookup {t} fetch_{t} {t}_of_{s} get_{s}_{t} read_{t} query_{t} {w}_{t} "
    "{w} {w} {w}_{v} {w}_{s}"
)
LOOKUP_TEXTS = (
    "Get the {t} of a {s}.", "Find the {t} of a {s}.", "Returns the {t} for a {s}.",
    "Look up the {t} of one {s}.", "Tells the {t} of a {s}", "Get the current {t} in a {s}.",
    "Gives the {t} for the {s}",
    "Get the current {t} for a given {s}.",
    "Returns the {t} of the specified {s}.",
    "Fetch the {t} by {s} name", "Get {t}", "Reads the {t} of the given {s}.",
)  # fmt: skip
ASK_LOOKUP = Wordings(
    train=(
        "What is the {t} of {x}?", "What is the {t} in {x}?", "Tell me the {t} of {x}.",
        "What's the {t} for {x}?", "I need the {t} of {x}.", "Please get the {t} of {x}.",
        "Find the {t} for {x}.", "Do you know the {t} of {x}?", "{t} of {x}?",
        "Can you look up the {t} of {x}?", "Give me the {t} in {x}.", "Show me the {t} for {x}.",
        "What is {x}'s {t}?", "Look up {x}: what is the {t}?", "How is the {t} in {x}?",
        "Check the {t} in {x}, please.", "What is the {t} like in {x}?",
        "What is the {t} in {x} today?", "What is the {t} in {x} right now?",
        "In {x}, what is the {t}?", "At {x}, what is the {t} now?", "About {x}: what is the {t}?",
        "As for {x}, what is the {t}?", "With {x}, how is the {t}?", "Of {x} I need the {t}.",
        "{x}: what is the {t}?", "{x}, what is its {t}?", "For {x} I need the {t}.",
        "From {x} I want the {t}.", "On {x}: tell me the {t}.", "Regarding {x}, give me the {t}.",
        "To {x} now: the {t}, please.", "I look at {x}. What is the {t}?",
        "What {t} is it in {x}?", "What {t} does {x} have?", "Which {t} has {x}?",
    ),
    held_out=(
        "Could you tell me the {t} of {x}?", "I would like to know the {t} in {x}.",
        "Please check the {t} for {x}.", "For {x}, what is the {t}?",
    ),
    frames=QUESTION_FRAMES,
    cores=(
        "the {t} of {x}", "the {t} in {x}", "the {t} for {x}", "{x}'s {t}",
        "the current {t} of {x}", "the {t} at {x}",
    ),
)  # fmt: skip


def lookup(rng: random.Random, split: Split) -> Job:
    """A tool of one string parameter, and a question that it answers."""
    about, owner = topic(rng, split), subject(rng, split)
    parameter = _parameter_name(rng, split, (owner, owner, "name", f"{owner}_name", "query"))
    value = rng.choice((place, place, place, person, person, two_words, two_words, code))(
        rng, split
    )
    example = f", for example {rng.choice(CITIES)}" if rng.random() < 0.2 else ""
    properties = {parameter: _property(rng, "string", f"The {owner}{example}")}
    if rng.random() < 0.15:
        properties["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    text = rng.choice(LOOKUP_TEXTS).format(t=about, s=owner)
    tool = _tool(rng, lookup_name(rng, split, about, owner), text, properties, [parameter])
    request = ASK_LOOKUP.pick(rng, split).format(t=about, x=value)
    request = opened(rng, split, request[0].upper() + request[1:])
    return Job(tool, request, {parameter: value}, about, value)


def topic(rng: random.Random, split: Split) -> str:
    """What a lookup tells: a usual topic, or any word, so that matching is learned, not topics."""
    usual = 0.4 if split is Split.HELD_OUT else 0.2
    kind = rng.random()
    if kind < usual:
        return TOPICS.pick(rng, split)
    if kind < 0.5 and split is Split.TRAIN:
        return rng.choice(COMMON_WORDS) if rng.random() < 0.3 else noun(rng)
    word = made_up_word(rng, split)
    return f"{word} {made_up_word(rng, split)}" if kind > 0.95 else word


def subject(rng: random.Random, split: Split) -> str:
    """What a lookup's topic belongs to: a usual subject, a noun or, in training, any word."""
    if split is Split.HELD_OUT or rng.random() < 0.4:
        return SUBJECTS.pick(rng, split)
    return noun(rng) if rng.random() < 0.7 else made_up_word(rng, split)


def lookup_name(rng: random.Random, split: Split, about: str, subject: str) -> str:
    """A name for a lookup; what it says of its topic may be much, little or nothing."""

    def make(r: random.Random) -> str:
        words = {"w": made_up_word(r, split), "v": made_up_word(r, split)}
        name = r.choice(LOOKUP_NAMES).format(t=about.replace(" ", "_"), s=subject, **words)
        return _camel(name) if r.random() < 0.1 else name

    return draw(rng, split, make)


NAMED = Wordings(
    train=("Use {f} with {p}.", "Call {f} with {p}.", "Run {f} with {p}.", "{f}: {p}",
           "Please call the tool {f} with {p}.", "Start {f} with {p}."),
    held_out=("Please use the tool {f} with {p}.", "I want you to call {f} with {p}."),
    frames=TASK_FRAMES,
    cores=(
        "use {f} with {p}", "call {f} with {p}", "run {f} with {p}", "start {f} with {p}",
        "use the tool {f} with {p}", "call the function {f} with {p}", "try {f} with {p}",
    ),
)  # fmt: skip


def action(rng: random.Random, split: Split) -> Job:
    """A tool of several arguments, and a request that tells them in words of its own."""
    kind = rng.choice(ACTIONS)
    names = [_parameter_name(rng, split, argument.names) for argument in kind.arguments]
    values = [argument.make(rng, split) for argument in kind.arguments]
    properties = {
        name: _property(rng, argument.json_type, argument.text)
        for name, argument in zip(names, kind.arguments, strict=True)
    }
    name = draw(rng, split, lambda r: _action_name(r, split, kind.verbs))
    tool = _tool(rng, name, rng.choice(kind.texts), properties, list(properties))
    spoken = [("on" if value else "off") if isinstance(value, bool) else value for value in values]
    request = kind.requests.pick(rng, split).format(*spoken)
    arguments = dict(zip(names, values, strict=True))
    return Job(tool, request, arguments, kind.verbs[0], values[0])


def named(rng: random.Random, split: Split) -> Job:
    """A made-up tool that the request calls by its name, each argument by its parameter's."""
    arguments: dict[str, Value] = {}
    properties = {}
    for _ in range(rng.randint(1, 3)):
        parameter = made_up_word(rng, split)
        json_type = rng.choice(("string", "integer"))
        arguments[parameter] = (
            made_up_name(rng, split) if json_type == "string" else rng.randint(0, 999)
        )
        properties[parameter] = _property(rng, json_type, f"The {parameter}")
    name = lookup_name(rng, split, made_up_word(rng, split), made_up_word(rng, split))
    form = rng.choice(("{k} {v}", "{k} = {v}", "{k}={v}", "{k}: {v}"))
    told = [form.format(k=key, v=value) for key, value in arguments.items()]
    tool = _tool(rng, name, f"Does the {name.replace('_', ' ')}.", properties, list(properties))
    joined = " and ".join(told) if len(told) < 3 else f"{told[0]}, {told[1]} and {told[2]}"
    request = NAMED.pick(rng, split).format(f=name, p=joined)
    return Job(tool, request, arguments, name, next(iter(arguments.values())))


def _action_name(rng: random.Random, split: Split, verbs: tuple[str, ...]) -> str:
    verb, word = rng.choice(verbs), made_up_word(rng, split)
    return rng.choice((verb, f"{word}_{verb}", f"{verb}_{word}", word))


def _parameter_name(rng: random.Random, split: Split, names: tuple[str, ...]) -> str:
    if split is Split.TRAIN and rng.random() < 0.4:
        return rng.choice(names)
    word = made_up_word(rng, split)
    name = rng.choice((word, f"{rng.choice(names)}_{word}", f"{word}_{rng.choice(names)}"))
    return _longer(rng, name) if split is Split.TRAIN and rng.random() < 0.3 else name


def _longer(rng: random.Random, name: str) -> str:
    """The name with one more word, in one of the ways that names are written."""
    longer = rng.choice((f"{name}_{noun(rng)}", f"{noun(rng)}_{name}"))
    return _camel(longer) if rng.random() < 0.3 else longer


def _property(rng: random.Random, json_type: str, text: str) -> dict[str, Any]:
    with_text = rng.random() < 0.5
    return {"type": json_type} | ({"description": text} if with_text else {})


def _tool(
    rng: random.Random, name: str, text: str, properties: dict[str, Any], required: list[str]
) -> Tool:
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if rng.random() < 0.8:
        parameters["required"] = required
    if rng.random() < 0.15:
        parameters["additionalProperties"] = False
    described = {"description": text} if rng.random() < 0.95 or "_" not in name else {}
    return {"type": "function", "function": {"name": name} | described | {"parameters": parameters}}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
