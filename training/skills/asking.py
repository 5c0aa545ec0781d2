"""Frames that many questions share: how one asks for something, or asks that something be done.

`@` is where the core stands: "the capital of {x}" for a question, "sort this list: {x}" for a task.
Openings stand before a question and say nothing; some hold words that were never seen before, so
that the model learns to pass over them.
"""

import random

from legato.training.split import Split, Wordings
from legato.training.words import ANIMALS, DAYS, FOODS, JOBS, made_up_name, made_up_word

QUESTION_FRAMES = (
    "what is @?", "what's @?", "@?", "tell me @.", "please tell me @.", "name @.", "give me @.",
    "do you know @?", "I need @.", "say @.", "I forgot @. What is it?", "I want to know @.",
    "can you tell me @?", "could you give me @?", "would you tell me @, please?", "can you name @?",
    "let me know @.", "I wish to know @.", "any idea what @ is?", "could you say what @ is?",
    "can you say what @ is?", "please say what @ is.", "I would love to know what @ is.",
    "help me find @.", "please find @.", "I am looking for @.", "show me @.", "write down @.",
    "my question is about @. What is it?", "please give the answer: what is @?", "we need @ now.",
    "somebody asked me for @.", "my teacher wants to know @.", "explain to me what @ is.",
    "which is @?", "find out @.", "is @ known to you?", "do you happen to know @?",
    "could you look up @?", "how would you answer this: what is @?", "in short: what is @?",
    "then what is @?", "but what is @?", "what exactly is @?", "I must know @.", "and what is @?",
    "can you help me with @?", "I have to write down @. Help me.", "tell me what @ is.",
    "please name @.", "I cannot remember @.", "do you remember @?", "do you still know @?",
    "what might @ be?", "what could @ be?", "if you know @, tell me.", "guess @.", "work out @.",
    "can you find @?", "please answer: @?", "let us talk about @. What is it?", "check @.",
    "I would be glad to hear @.", "everybody wants to know @.", "@, please.", "@, please?",
    "so what is @?", "remember @ for me, please.", "I should know @, but I do not.",
)  # fmt: skip
TASK_FRAMES = (
    "@", "please @", "can you @", "could you @", "would you @", "I want you to @", "now @",
    "I would like you to @", "kindly @", "your task: @", "try to @", "you should @", "let us @",
    "next, @", "help me to @", "first @", "I ask you to @", "will you @", "quickly @",
    "it is time to @", "my wish: @", "the task is to @", "go and @", "please now @", "do this: @",
    "here is a task: @", "I need you to @", "could you please @", "can you quickly @", "then @",
    "would you kindly @", "for my work, @", "for me, @", "my friend wants you to @", "again, @",
)  # fmt: skip

OPENINGS = Wordings(
    train=(
        "please tell me: ", "Hi! ", "Hello, ", "Quick question: ", "Tell me, ", "Now, ", "And ",
        "I wonder: ", "So, ", "Next question: ", "Ok. ", "Thanks. ", "Can you help me? ",
        "One more: ", "For my homework: ", "Listen, ", "By the way, ", "Hm, ", "Oh, ", "Look, ",
        "Alright, ", "Good afternoon! ", "Good evening. ", "Dear model, ", "Excuse me, ", "Sorry, ",
        "One thing: ", "A small question: ", "I have a question: ", "Question {d}: ", "Yes. ",
        "Let me ask: ", "First, ", "Then ", "Last question: ", "Just a test: ", "No. ", "Great! ",
        "For my {w}: ", "I am not sure: ", "I was asked: ", "Somebody said you know this: ",
        "My friend {n} asks: ", "The {j} asked me: ", "It is {day} today. ", "I like {f}. ",
        "{n} wants to know: ", "{w}! ", "My {a} is hungry. ", "We talked about {w}. ", "{w}, {w}: ",
        "As a {j} I ask: ", "I am {w}: ", "In my {w} I wonder: ", "About something else: ", "{n}: ",
    ),
    held_out=("Good day! ", "A question for you: ", "Well, ", "I am curious: "),
)  # fmt: skip


def opened(rng: random.Random, split: Split, question: str) -> str:
    """The question, at times with an opening, and at times written carelessly."""
    if rng.random() < 0.35:
        question = _opening(rng, split) + question
    if rng.random() < 0.08:
        question = question[0].lower() + question[1:]
    if rng.random() < 0.08:
        question = question.rstrip("?.")
    return question


def _opening(rng: random.Random, split: Split) -> str:
    return OPENINGS.pick(rng, split).format(
        n=made_up_name(rng, split), w=made_up_word(rng, split), d=rng.randint(1, 99),
        j=rng.choice(JOBS), day=rng.choice(DAYS), f=rng.choice(FOODS), a=rng.choice(ANIMALS),
    )  # fmt: skip
