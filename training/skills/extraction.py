"""Fields of a short text as JSON, for a schema given in the system prompt or in the question.

    text    = a subject and some predicates: "Zorvik is 34 years old and lives in Pelton."
    schema  = an ordered choice of the text's fields, each under one of several key names;
              or made-up keys with values, "zup: 12, mol: Trentik", that can only be copied

Held out are schemas (the ordered tuple of keys, by content), values and some wordings.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from legato.training.chat import Exchange, assistant, to_json, user
from legato.training.skills.asking import TASK_FRAMES
from legato.training.split import Split, Wordings, split_of
from legato.training.words import (
    COLOURS,
    DAYS,
    FOODS,
    JOBS,
    LANGUAGES,
    OBJECTS,
    code,
    made_up_name,
    made_up_word,
    person,
    place,
    words,
)

SKILL = "extraction"
Value = str | int | float | bool
Make = Callable[[random.Random, Split], Value]


@dataclass(frozen=True, slots=True)
class Field:
    """One field: the keys it may have, its JSON type, how a value is made and told.

    `told` are predicates with `{x}`; a boolean's are pairs, "is a member|is not a member".
    """

    keys: tuple[str, ...]
    json_type: str
    make: Make
    told: tuple[str, ...] = ()


def _number(low: int, high: int) -> Make:
    return lambda rng, split: rng.randint(low, high)


def _price(rng: random.Random, split: Split) -> Value:
    return rng.randint(1, 99) if rng.random() < 0.5 else rng.randint(1, 99) + rng.randint(1, 9) / 10


def _choice(words: tuple[str, ...]) -> Make:
    return lambda rng, split: rng.choice(words)


def _flag(rng: random.Random, split: Split) -> Value:
    return rng.random() < 0.5


def _phone(rng: random.Random, split: Split) -> Value:
    return str(rng.randint(1000, 99999))


def _email(rng: random.Random, split: Split) -> Value:
    return f"{made_up_word(rng, split)}@{rng.choice(('mail', 'post', 'web'))}.com"


# A domain: its subject first, then what may be told of it.
DOMAINS: tuple[tuple[Field, ...], ...] = (
    (
        Field(("name", "name", "person", "full_name"), "string", person),
        Field(("age", "age", "years"), "integer", _number(1, 99),
              ("is {x} years old", "is {x}", "is aged {x}", "has lived for {x} years")),
        Field(("city", "city", "town", "home"), "string", place,
              ("lives in {x}", "comes from {x}", "has a house in {x}", "moved to {x}")),
        Field(("job", "job", "profession", "work"), "string", _choice(JOBS),
              ("works as a {x}", "is a {x}", "has a job as a {x}")),
        Field(("email", "email", "mail"), "string", _email,
              ("has the email {x}", "can be reached at {x}", "uses the address {x}")),
        Field(("phone", "phone", "phone_number"), "string", _phone,
              ("has the phone number {x}", "can be called at {x}")),
        Field(("colour", "color", "favourite_colour"), "string", _choice(COLOURS),
              ("likes the colour {x}", "loves {x}", "wears {x}")),
        Field(("member", "is_member"), "boolean", _flag,
              ("is a member|is not a member", "joined the club|did not join the club")),
    ),
    (
        Field(("customer", "name", "buyer"), "string", person),
        Field(("item", "item", "product", "thing"), "string", _choice((*OBJECTS, *FOODS)),
              ("bought a {x}", "ordered one {x}", "wants a {x}")),
        Field(("quantity", "count", "amount"), "integer", _number(1, 60),
              ("took {x} pieces", "needs {x} of them", "asked for {x} pieces")),
        Field(("price", "price", "cost"), "number", _price,
              ("paid {x} euros", "spent {x} euros", "gave {x} dollars")),
        Field(("day", "day", "date"), "string", _choice(DAYS),
              ("came on {x}", "visited us on {x}", "called on {x}")),
        Field(("paid", "is_paid"), "boolean", _flag,
              ("paid already|has not paid yet", "paid the bill|did not pay the bill")),
        Field(("city", "town", "address"), "string", place,
              ("lives in {x}", "wants it sent to {x}", "gets it in {x}")),
    ),
    (
        Field(("event", "title", "name"), "string", lambda r, s: f"{made_up_name(r, s)} Party"),
        Field(("day", "date", "weekday"), "string", _choice(DAYS),
              ("takes place on {x}", "is on {x}", "happens on {x}")),
        Field(("hour", "start", "time"), "integer", _number(1, 23),
              ("starts at {x}", "begins at {x} hours", "opens at {x}")),
        Field(("place", "city", "location"), "string", place,
              ("is in {x}", "takes us to {x}", "is held in {x}")),
        Field(("host", "host", "organizer"), "string", person,
              ("is hosted by {x}", "is led by {x}", "was planned by {x}")),
        Field(("guests", "seats"), "integer", _number(2, 300),
              ("expects {x} guests", "has seats for {x} people", "is for {x} people")),
        Field(("free", "is_free"), "boolean", _flag,
              ("is free|is not free", "costs nothing|costs money")),
    ),
    (
        Field(("title", "book", "name"), "string", lambda r, s: f"The {made_up_name(r, s)}"),
        Field(("author", "author", "writer"), "string", person,
              ("was written by {x}", "is a book by {x}", "is by {x}")),
        Field(("year", "year"), "integer", _number(1800, 2029),
              ("appeared in {x}", "was printed in {x}", "is from {x}")),
        Field(("pages", "length"), "integer", _number(20, 999),
              ("has {x} pages", "is {x} pages long")),
        Field(("language", "language"), "string", _choice(LANGUAGES),
              ("is written in {x}", "can be read in {x}")),
        Field(("price", "cost"), "number", _price, ("costs {x} euros", "is sold for {x} euros")),
    ),
)  # fmt: skip

_STARTS = tuple(frame.replace("@", "") for frame in TASK_FRAMES)
_KEYS_FRAMES = tuple(f"{start}@: {{t}}" for start in _STARTS) + tuple(
    f"{{t}}\n{start.capitalize()}@." for start in _STARTS if start
)
_KEYS_CORES = tuple(
    f"{verb} {{k}}{source}{form}"
    for verb in words("extract get find take write return give output collect show list determine")
    for source in ("", " from this text", " from the text", " of this text", " found in the text")
    for form in (" as JSON", " in JSON", " as a JSON object", " in JSON format", " as JSON only")
)
_SCHEMA_FRAMES = tuple(f"{start}@\n{{t}}" for start in _STARTS) + tuple(
    f"{{t}}\n{start.capitalize()}@" for start in _STARTS if start
)
_SCHEMA_CORES = (
    "answer with JSON for this schema: {s}", "use this schema: {s}", "fill in this schema: {s}",
    "write JSON that fits the schema {s}", "extract the fields of this schema: {s}",
    "return JSON that follows this schema: {s}", "give JSON for the schema {s}",
    "make a JSON object with this schema: {s}", "read the text and write JSON. Schema: {s}",
    "follow the schema {s}", "produce JSON by this schema: {s}", "stay with this schema: {s}",
)  # fmt: skip

BY_KEYS = Wordings(
    train=(
        "Extract {k} as JSON: {t}", "Extract {k} from this text as JSON.\n{t}",
        "{t}\nGive me {k} as JSON.", "Return {k} as JSON. Text: {t}", "JSON with {k}: {t}",
        "Read this text and answer with JSON that has the keys {k}: {t}",
        "{t}\nWrite a JSON object with {k}.", "As JSON with the fields {k}: {t}",
    ),
    held_out=("Please extract {k} as a JSON object: {t}", "{t}\nNow write {k} as JSON."),
    frames=_KEYS_FRAMES,
    cores=_KEYS_CORES,
)  # fmt: skip
BY_SCHEMA = Wordings(
    train=(
        "{t}\nAnswer with JSON for this schema: {s}", "Schema: {s}\nText: {t}",
        "Extract JSON that fits this schema: {s}\n{t}", "Use this schema: {s}\n\n{t}",
        "Fill in this JSON schema {s} from the text: {t}",
    ),
    held_out=("Give me JSON for this schema: {s}\nText: {t}", "{t}\nPlease use the schema {s}"),
    frames=_SCHEMA_FRAMES,
    cores=_SCHEMA_CORES,
)  # fmt: skip
IN_SYSTEM = Wordings(
    train=(
        "Answer with JSON for this schema: {s}", "Extract JSON. Schema: {s}",
        "You extract data. Answer only with JSON that fits this schema: {s}",
        "Always answer in JSON with this schema: {s}", "You are a JSON writer. Use {s}",
        "You are a helpful assistant that answers in JSON. Here is the schema: {s}",
    ),
    held_out=("Every answer is JSON for this schema: {s}", "Write JSON that fits the schema {s}"),
    frames=(
        "@", "always @", "please @", "you must @", "your job: @", "from each text, @",
        "for every message @", "you always @", "when the user writes, @", "you get a text; @",
        "read the text and @", "I want you to @",
    ),
    cores=_SCHEMA_CORES,
)  # fmt: skip


def extraction(rng: random.Random, split: Split) -> Exchange:
    """A text, a schema, and the JSON object with the schema's fields."""
    while True:
        text, fields = _record(rng, split) if rng.random() < 0.25 else _told(rng, split)
        asked = rng.sample(fields, rng.randint(1, min(5, len(fields))))
        if rng.random() < 0.5:
            asked = [field for field in fields if field in asked]
        if split_of("schema", *(key for key, _, _ in asked)) is split:
            return _exchange(rng, split, text, asked)


def _exchange(
    rng: random.Random, split: Split, text: str, asked: list[tuple[str, str, Value]]
) -> Exchange:
    answer = assistant(to_json({key: value for key, _, value in asked}))
    schema, keys = _schema(rng, asked), _in_words([key for key, _, _ in asked])
    form = rng.random()
    if form < 0.35:
        question = BY_KEYS.pick(rng, split).format(k=keys, t=text)
    elif form < 0.7:
        question = BY_SCHEMA.pick(rng, split).format(s=schema, t=text)
    else:
        system = IN_SYSTEM.pick(rng, split).format(s=schema)
        return Exchange(SKILL, (user(text), answer), answer["content"], system)
    return Exchange(SKILL, (user(question), answer), answer["content"])


def _told(rng: random.Random, split: Split) -> tuple[str, list[tuple[str, str, Value]]]:
    """A text about a subject of one domain, and (key, type, value) of all it tells."""
    subject, *others = rng.choice(DOMAINS)
    name = str(subject.make(rng, split))
    chosen = rng.sample(others, rng.randint(1, min(5, len(others))))
    fields: list[tuple[str, str, Value]] = [(rng.choice(subject.keys), "string", name)]
    predicates = []
    for field in chosen:
        value = field.make(rng, split)
        predicates.append(_predicate(rng.choice(field.told), value))
        fields.append((rng.choice(field.keys), field.json_type, value))
    return _joined(rng, name, predicates), fields


def _predicate(told: str, value: Value) -> str:
    if isinstance(value, bool):
        return told.split("|")[0 if value else 1]
    return told.format(x=value)


def _joined(rng: random.Random, name: str, predicates: list[str]) -> str:
    if rng.random() < 0.4 or len(predicates) == 1:
        return " ".join(f"{name} {predicate}." for predicate in predicates)
    return f"{name} {', '.join(predicates[:-1])} and {predicates[-1]}."


def _record(rng: random.Random, split: Split) -> tuple[str, list[tuple[str, str, Value]]]:
    """A text of made-up keys with values, and (key, type, value) of each."""
    fields: list[tuple[str, str, Value]] = []
    keys = {made_up_word(rng, split) for _ in range(rng.randint(2, 5))}
    for key in sorted(keys):
        json_type = rng.choice(("string", "integer", "boolean"))
        values: dict[str, Value] = {
            "string": code(rng, split) if rng.random() < 0.15 else made_up_name(rng, split),
            "integer": rng.randint(0, 999),
            "boolean": rng.random() < 0.5,
        }
        value = values[json_type]
        fields.append((key, json_type, value))
    rng.shuffle(fields)
    form, comma = rng.choice(
        (("{k}: {v}", ", "), ("{k} = {v}", "; "), ("{k}: {v}", "\n"), ("The {k} is {v}.", " "))
    )
    told = [form.format(k=key, v=_plain(value)) for key, _, value in fields]
    return comma.join(told), fields


def _plain(value: Value) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _schema(rng: random.Random, asked: list[tuple[str, str, Value]]) -> str:
    titled = rng.random() < 0.2  # as pydantic writes them
    properties = {
        key: {"title": key.replace("_", " ").title()} | {"type": json_type}
        if titled
        else {"type": json_type}
        for key, json_type, _ in asked
    }
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if rng.random() < 0.7:
        schema["required"] = list(properties)
    if rng.random() < 0.3:
        schema["additionalProperties"] = False
    return to_json(schema)


def _in_words(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{', '.join(keys[:-1])} and {keys[-1]}"
