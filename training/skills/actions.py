"""Sorts of tools that take several arguments, and how a request tells them.

The parameters' order in the schema is the order of `arguments`, in training and held out alike, so
that made-up parameter names still have one right reading.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from legato.training.skills.asking import TASK_FRAMES
from legato.training.split import Split, Wordings
from legato.training.words import (
    CITIES,
    COLOURS,
    DAYS,
    FOODS,
    LANGUAGES,
    OBJECTS,
    PLACES_INSIDE,
    made_up_name,
    made_up_word,
    person,
    place,
)

Value = str | int | float | bool
Make = Callable[[random.Random, Split], Value]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an action: its parameter's names, its type and how a value is made."""

    names: tuple[str, ...]
    json_type: str
    make: Make
    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """A sort of tool with several arguments `{0}`, `{1}`, ... told by the request."""

    verbs: tuple[str, ...]
    texts: tuple[str, ...]
    arguments: tuple[Argument, ...]
    requests: Wordings


def _number(low: int, high: int) -> Make:
    return lambda rng, split: rng.randint(low, high)


def _choice(words: tuple[str, ...]) -> Make:
    return lambda rng, split: rng.choice(words)


def two_words(rng: random.Random, split: Split) -> str:
    """A name of two made-up words."""
    return f"{made_up_name(rng, split)} {made_up_name(rng, split)}"


def _message(rng: random.Random, split: Split) -> str:
    words = (*FOODS, *OBJECTS, made_up_word(rng, split))
    return " ".join(rng.sample(words, rng.randint(1, 4)))


_PERSON = Argument(("recipient", "person", "to", "name", "contact"), "string", person, "Who")
_TEXT = Argument(("text", "message", "body"), "string", _message, "Text")
_DAY = Argument(("day", "date", "weekday"), "string", _choice(DAYS), "Which day")
_A = Argument(("a", "x", "first", "left"), "number", _number(0, 999), "First number")
_B = Argument(("b", "y", "second", "right"), "number", _number(0, 999), "Second number")

ACTIONS = (
    Action(
        ("send_message", "send", "write_to", "text", "notify"),
        ("Send a message to a person.", "Sends text to someone.", "Write a message."),
        (_PERSON, _TEXT),
        Wordings(
            ("Send {0} the message: {1}", "Tell {0}: {1}", "Write to {0}: {1}",
             "Message {0} with the text {1}", "Send a message to {0}: {1}", "Send {0} this: {1}",
             "{0} should know: {1}", "To {0}: {1}"),
            ("Please let {0} know: {1}", "Send this to {0}: {1}"),
            TASK_FRAMES,
            (
        "send {0} the message: {1}", "tell {0}: {1}", "write to {0}: {1}", "inform {0}: {1}",
        "send the text to {0}: {1}", "let {0} read this: {1}",
    ),
        ),
    ),
    Action(
        ("book_table", "reserve", "make_booking", "book"),
        ("Book a table in a restaurant.", "Reserve a table for some people."),
        (Argument(("restaurant", "place", "name"), "string", made_up_name, "Where"),
         Argument(("people", "guests", "persons", "count"), "integer", _number(1, 30), "How many"),
         _DAY),
        Wordings(
            ("Book a table at {0} for {1} people on {2}.", "Reserve {0} on {2} for {1} people.",
             "On {2} we are {1} people. Please book {0}.",
             "A table for {1} at {0} on {2}, please."),
            ("I want a table at {0} on {2} for {1} people.",),
            TASK_FRAMES,
            (
        "book a table at {0} for {1} people on {2}", "reserve {0} for {1} people on {2}",
        "get us a table at {0} on {2} for {1} people", "book {0} on {2} for {1}",
    ),
        ),
    ),
    Action(
        ("set_timer", "start_timer", "timer", "wake_me"),
        ("Set a timer.", "Starts a timer of some minutes."),
        (Argument(("minutes", "duration", "length"), "integer", _number(1, 99), "Minutes"),),
        Wordings(
            ("Set a timer for {0} minutes.", "Start a timer of {0} minutes.", "Timer: {0} minutes",
             "Wake me in {0} minutes.", "Please set the timer to {0} minutes."),
            ("I need a timer for {0} minutes.",),
            TASK_FRAMES,
            (
        "set a timer for {0} minutes", "start a timer of {0} minutes",
        "wake me in {0} minutes", "count down {0} minutes",
    ),
        ),
    ),
    Action(
        ("translate", "translate_text", "translator"),
        ("Translate a text into a language.", "Translates words."),
        (Argument(("text", "words", "input"), "string", _message, "The text"),
         Argument(("language", "target", "to"), "string", _choice(LANGUAGES), "The language")),
        Wordings(
            ('Translate "{0}" into {1}.', "Translate into {1}: {0}", 'Say "{0}" in {1}.',
             'What is "{0}" in {1}?', 'Turn "{0}" into {1}.', 'How do they say "{0}" in {1}?'),
            ('Please put "{0}" into {1}.',),
            TASK_FRAMES,
            (
        'translate "{0}" into {1}', 'say "{0}" in {1}', "translate into {1}: {0}",
        'write "{0}" in {1}',
    ),
        ),
    ),
    Action(
        ("order_item", "order", "buy", "add_to_cart"),
        ("Order something in the shop.", "Buy some pieces of an item."),
        (Argument(("item", "product", "article"), "string", _choice(OBJECTS), "What"),
         Argument(("quantity", "count", "number"), "integer", _number(2, 99), "How many")),
        Wordings(
            ("Order {1} pieces of the item {0}.", "Buy {1} of these: {0}", "I need {1} x {0}.",
             "Put {1} pieces of {0} in my cart.", "I order {1} x {0}.", "{1} x {0}, please."),
            ("Please order {1} x {0}.",),
            TASK_FRAMES,
            (
        "order {1} pieces of the item {0}", "buy {1} of these: {0}",
        "put {1} x {0} in my cart", "get {1} x {0}",
    ),
        ),
    ),
    Action(
        ("switch_light", "set_light", "light", "lamp_control"),
        ("Switch the light of a room on or off.", "Turns lights on and off."),
        (Argument(("room", "where", "place"), "string", _choice(PLACES_INSIDE), "The room"),
         Argument(("on", "state", "is_on"), "boolean", lambda r, s: r.random() < 0.5, "On or off")),
        Wordings(
            ("Switch the light in the {0} {1}.", "Turn {1} the light in the {0}.",
             "Light {1} in the {0}, please.", "Please turn the {0} light {1}."),
            ("I want the light in the {0} {1}.",),
            TASK_FRAMES,
            (
        "switch the light in the {0} {1}", "turn {1} the light in the {0}",
        "turn the {0} light {1}", "make the light {1} in the {0}",
    ),
        ),
    ),
    Action(
        ("book_flight", "flight", "find_train", "travel", "search_trips"),
        ("Find a trip from one city to another.", "Search for travel between two places."),
        (Argument(("origin", "from", "start"), "string", place, "Where it starts"),
         Argument(("destination", "to", "end"), "string", _choice(CITIES), "Where it ends"), _DAY),
        Wordings(
            ("Find a trip from {0} to {1} on {2}.", "I travel from {0} to {1} on {2}.",
             "On {2} I go to {1} from {0}.", "Get me from {0} to {1} on {2}.",
             "To {1} from {0} on {2}, please.", "I want to reach {1} from {0} on {2}.",
             "How do I get to {1} from {0} on {2}?"),
            ("Please search a trip to {1} from {0} on {2}.",),
            TASK_FRAMES,
            (
        "find a trip from {0} to {1} on {2}", "get me from {0} to {1} on {2}",
        "search a trip from {0} to {1} on {2}", "plan a trip to {1} from {0} on {2}",
    ),
        ),
    ),
    Action(
        ("multiply", "product", "times", "calc_multiply"),
        ("Multiply two numbers.", "Returns the product of two numbers."),
        (_A, _B),
        Wordings(
            ("What is {0} times {1}?", "Multiply {0} and {1}.", "What is {0} * {1}?",
             "The product of {0} and {1}?", "Compute {0} x {1}."),
            ("How much is {0} times {1}?",),
            TASK_FRAMES,
            (
        "multiply {0} and {1}", "compute {0} times {1}", "tell me {0} times {1}",
        "work out {0} * {1}",
    ),
        ),
    ),
    Action(
        ("search_web", "search", "find", "web_query"),
        ("Search the web.", "Find pages about something."),
        (Argument(("query", "q", "keywords", "text"), "string", two_words, "What to find"),),
        Wordings(
            ("Search for {0}.", "Search the web for {0}.", "Find pages about {0}.",
             "Look for {0} on the web.", "What does the web say about {0}?"),
            ("Please search for {0} on the web.",),
            TASK_FRAMES,
            (
        "search for {0}", "look for {0} on the web", "search the web for {0}",
        "find pages about {0}", "look up {0}",
    ),
        ),
    ),
    Action(
        ("paint", "set_colour", "change_color"),
        ("Change the colour of a thing.", "Paints something."),
        (Argument(("thing", "object", "what"), "string", _choice(OBJECTS), "What"),
         Argument(("colour", "color"), "string", _choice(COLOURS), "The colour")),
        Wordings(
            ("Paint the {0} {1}.", "Make the {0} {1}.", "Change the colour of the {0} to {1}.",
             "I want the {0} in {1}."),
            ("Please give the {0} the colour {1}.",),
            TASK_FRAMES,
            (
        "paint the {0} {1}", "make the {0} {1}", "change the colour of the {0} to {1}",
        "give the {0} a {1} colour",
    ),
        ),
    ),
)  # fmt: skip
