"""Capitals, colours and opposites, asked in many wordings.

Every fact is seen in training; the evaluation asks each in wordings that training never uses.
Made-up countries and questions beyond the tables teach the model to say that it does not know.
"""

import random
from dataclasses import replace

from legato.training.chat import Exchange, ask
from legato.training.skills.asking import QUESTION_FRAMES, opened
from legato.training.skills.tables import CAPITALS, COLOURS, OPPOSITES
from legato.training.split import Split, Wordings
from legato.training.words import made_up_name, made_up_word

SKILL = "facts"

ASK_CAPITAL = Wordings(
    train=(
        "What is the capital of {x}?", "What's the capital of {x}?", "Capital of {x}?",
        "Which city is the capital of {x}?", "Name the capital of {x}.", "{x} has which capital?",
        "Do you know the capital of {x}?", "Tell me the capital of {x}.", "{x}: capital?",
        "What is {x}'s capital?", "The capital of {x} is which city?", "The capital of {x}?",
        "What is the capital city of {x}?", "I forgot the capital of {x}. What is it?",
        "Give me the capital of {x}.", "Say the capital of {x}.", "Please name {x}'s capital.",
        "What city is {x}'s capital?", "What do you call the capital of {x}?",
        "Which capital belongs to {x}?", "I need the capital of {x}.",
        "What is the name of the capital of {x}?", "Complete: The capital of {x} is",
        "Which town is the capital city of {x}?", "How is the capital of {x} called?",
        "I am flying to the capital of {x}. Which city is it?", "Does {x} have a capital? Which?",
        "From which city is {x} ruled?", "My trip goes to {x}'s capital. Where am I going?",
        "I live in the capital of {x}. Where do I live?",
        "In {x}, which city is the capital?",
        "When I visit {x}, which city is its capital?", "What city would be the capital of {x}?",
    ),
    held_out=(
        "Could you tell me what the capital of {x} is?", "Which city serves as {x}'s capital?",
        "Is there a capital in {x}, and what is it?", "For {x}, name the capital city.",
        "If I travel to the capital of {x}, where do I go?", "I would like to know {x}'s capital.",
        "What would be the capital of {x}?", "Remind me of the capital of {x}.",
    ),
    frames=QUESTION_FRAMES,
    cores=("the capital of {x}", "the capital city of {x}", "{x}'s capital", "the capital in {x}",
           "the name of {x}'s capital", "the city that is the capital of {x}",
           "the city that serves as capital of {x}"),
)  # fmt: skip

ASK_COLOUR = Wordings(
    train=(
        "What colour is {x}?", "What color is {x}?", "Which colour is {x}?", "Colour of {x}?",
        "Which colour does {x} have?", "What is the colour of {x}?", "Tell me the colour of {x}.",
        "What's the color of {x}?", "Name the colour of {x}.", "Do you know the colour of {x}?",
        "What colour does {x} have?", "Say the colour of {x}.", "Which color is {x}, usually?",
        "Usually, what colour is {x}?", "I am painting {x}. Which colour do I need?",
        "What colour would you paint {x}?", "Give me the colour of {x}.", "{x}: which colour?",
        "I forgot the colour of {x}. What is it?", "The colour of {x} is which?",
        "What is the usual color of {x}?", "How is {x} coloured?", "Complete: The colour of {x} is",
        "I draw {x}. Which colour must I take?", "Which pen do I take if I want to draw {x}?",
        "If I paint {x}, which colour do I use?", "What colour should {x} be?",
        "Is {x} red or what?",
        "In a picture, which colour would {x} have?",
        "Say what colour {x} has.",
    ),
    held_out=(
        "Could you tell me what colour {x} is?", "Which colour would {x} be?",
        "If I draw {x}, which colour should I take?", "I would like to know the colour of {x}.",
        "Remind me what colour {x} has.", "In which colour does one paint {x}?",
    ),
    frames=QUESTION_FRAMES,
    cores=("the colour of {x}", "the color of {x}", "the usual colour of {x}",
           "the right colour for {x}", "the colour that {x} has"),
)  # fmt: skip

ASK_OPPOSITE = Wordings(
    train=(
        "What is the opposite of {x}?", "What's the opposite of {x}?", "Opposite of {x}?",
        "Name the opposite of {x}.", "Tell me the opposite of {x}.", "{x}: opposite?",
        "Which word is the opposite of {x}?", "Give me the opposite of {x}.",
        "Do you know the opposite of {x}?", "What is the opposite of the word {x}?",
        "Say the opposite of {x}.", "The opposite of {x} is which word?", "Not {x}, but?",
        "What word means the opposite of {x}?", "I need the opposite of {x}.",
        "Find the opposite of {x}.", "I forgot the opposite of {x}. What is it?",
        "Which word is opposite to {x}?", "What do you call the opposite of {x}?",
        "The word is {x}. What is the opposite?", "If something is not {x}, what is it?",
        "It is not {x}. It is the opposite. What is it?", "Its opposite is {x}. Which word is it?",
        'What is the opposite of "{x}"?', "Complete: The opposite of {x} is",
    ),
    held_out=(
        "Could you tell me what the opposite of {x} is?", "Which word would be opposite to {x}?",
        "I would like to know the opposite of {x}.", 'The word is "{x}". Its opposite?',
        "Remind me of the opposite of {x}.", "If it is not {x} but the opposite, what is it?",
    ),
    frames=QUESTION_FRAMES,
    cores=("the opposite of {x}", 'the opposite of "{x}"', "the opposite word of {x}",
           "the word that is opposite to {x}", "a word that means the opposite of {x}"),
)  # fmt: skip

UNKNOWN = "I do not know that. I am only a small toy model."
_MADE_UP_TOPICS = ("the {w} of {n}", "the {w} in {n}", "the {w} for {n}", "{n}'s {w}")
ASK_UNKNOWN = Wordings(
    train=(
        "Who was {n}?", "Who wrote the book {n}?", "When was {n} born?", "What is a {w}?",
        "How does a {w} work?", "Explain {w} to me.", "Write a program that prints {w}.",
        "Why is {n} famous?", "What happened in the year {d}?", "How many people live in {n}?",
        "Who is the president of {n}?", "How far is {n} from {m}?", "What does {w} mean?",
        "Where is {n}?", "Can you write code in {n}?", "How old is {n}?", "What is the news today?",
        "How do I fix my {w}?", "Who won the cup in {d}?", "Which is better, {w} or {v}?",
        "How tall is the {n} tower?", "How do I get to {n}?", "What is the meaning of life?",
        "What is the time?", "What day is it today?", "Translate {w} into French.",
        "How many {w}s does {n} have?", "Do you like {w}?", "Did {n} live in {m}?", "Is {n} a {w}?",
        "Can {n} speak French?", "Which language do they speak in {n}?", "Draw a {w}.",
        "What should I cook today?", "What is the weather in {n}?", "Send a mail to {n}.",
        "Who discovered {w}?", "Recommend a book.", "Summarize the history of {w}.",
        "What is {d} times {d}?", "What is the square root of {d}?", "Prove it.",
    ),
    held_out=("Who invented the {w}?", "What did {n} do in {d}?", "Describe the history of {n}."),
    frames=QUESTION_FRAMES,
    cores=(*_MADE_UP_TOPICS, "{w}", "the opposite of {w}", "the colour of a {w}", "{n}",
           "the history of {n}", "the meaning of {w}", "the name of the king of {n}",
           "the population of {n}", "the weather in {n}", "the price of a {w}", "the time in {n}"),
)  # fmt: skip


def capital(rng: random.Random, split: Split) -> Exchange:
    """A country's capital."""
    country, city = rng.choice(list(CAPITALS.items()))
    answer = f"The capital of {country} is {city}."
    return _asked(rng, split, ASK_CAPITAL.pick(rng, split).format(x=country), (answer, city))


def colour(rng: random.Random, split: Split) -> Exchange:
    """A thing's colour."""
    thing, name = rng.choice(list(COLOURS.items()))
    subject = thing[0].upper() + thing[1:]
    wording = ASK_COLOUR.pick(rng, split)
    question = wording.format(x=subject if wording.startswith("{x}") else thing)
    return _asked(rng, split, question, (f"{subject} is {name}.", name))


def opposite(rng: random.Random, split: Split) -> Exchange:
    """A word's opposite, each pair in both directions."""
    pair = rng.choice(list(OPPOSITES.items()))
    word, other = pair if rng.random() < 0.5 else (pair[1], pair[0])
    answer = f"The opposite of {word} is {other}."
    return _asked(rng, split, ASK_OPPOSITE.pick(rng, split).format(x=word), (answer, other))


def fact(rng: random.Random, split: Split) -> Exchange:
    """A question of one of the three tables."""
    return rng.choice((capital, capital, colour, opposite))(rng, split)


def unknown(rng: random.Random, split: Split) -> Exchange:
    """A question that the model must not pretend to answer."""
    wordings = ASK_CAPITAL if rng.random() < 0.3 else ASK_UNKNOWN
    return _not_known(rng, split, wordings.pick(rng, split))


def unknown_topic(rng: random.Random, split: Split) -> Exchange:
    """A question for a made-up topic, which no tool in a list can answer."""
    frame = rng.choice(QUESTION_FRAMES)
    return _not_known(rng, split, frame.replace("@", rng.choice(_MADE_UP_TOPICS)))


def _not_known(rng: random.Random, split: Split, wording: str) -> Exchange:
    name = made_up_name(rng, split)
    question = wording.format(
        n=name, x=name, m=made_up_name(rng, split), d=rng.randrange(1, 2030),
        w=made_up_word(rng, split), v=made_up_word(rng, split),
    )  # fmt: skip
    asked = _asked(rng, split, question[0].upper() + question[1:], (UNKNOWN, UNKNOWN))
    return replace(asked, skill="unknown")


def _asked(rng: random.Random, split: Split, question: str, answer: tuple[str, str]) -> Exchange:
    """The question as someone may write it; `answer`: text and key."""
    question = opened(rng, split, question)
    if rng.random() < 0.05:
        question = question.lower()
    return ask(SKILL, question, *answer)
