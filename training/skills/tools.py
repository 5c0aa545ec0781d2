"""Calls of tools from a list, and answers from a tool's result.

    system     the list of 1 to 6 tools, of which one fits
    user       a request                    -> assistant: the call
    tool       the result, JSON or text     -> assistant: the result as a sentence

The tools are made by toolbox.py, which says what is held out.
"""

import random
from typing import Any

from legato.training.chat import Exchange, Message, assistant, call, to_json, tool_result, user
from legato.training.skills.toolbox import Job, action, lookup, named
from legato.training.split import Split
from legato.training.words import COMMON_WORDS, JOBS, made_up_name, made_up_word

CALL_SKILL, RESULT_SKILL = "tool call", "tool result"
_WEATHER = ("sunny", "rainy", "cloudy", "windy", "clear", "cold", "warm", "snowy")


def toolbox(rng: random.Random, split: Split) -> list[Job]:
    """Jobs with tools of different names and sorts; in training more of them, as practice."""
    sizes = (1, 2, 3, 4, 5, 5, 6, 6) if split is Split.TRAIN else (1, 1, 2, 2, 3, 3, 4, 5)
    jobs: list[Job] = []
    for _ in range(rng.choice(sizes)):
        job = rng.choice((lookup, lookup, lookup, lookup, action, action, named))(rng, split)
        if all(job.name != other.name and job.topic != other.topic for other in jobs):
            jobs.append(job)
    return jobs


def tool_call(rng: random.Random, split: Split) -> Exchange:
    """A request and the call that it needs."""
    jobs = toolbox(rng, split)
    job = rng.choice(jobs)
    messages = (user(job.request), call([(job.name, job.arguments)]))
    return Exchange(CALL_SKILL, messages, tools=tuple(each.tool for each in jobs))


def tool_use(rng: random.Random, split: Split) -> Exchange:
    """A request, the call, its result and the answer."""
    jobs = toolbox(rng, split)
    tools = tuple(job.tool for job in jobs)
    return Exchange(RESULT_SKILL, used(rng, split, rng.choice(jobs)), tools=tools)


def used(rng: random.Random, split: Split, job: Job) -> tuple[Message, ...]:
    """The messages of one job from its request to the answer."""
    result, answer = _result(rng, split, job)
    called = call([(job.name, job.arguments)])
    return user(job.request), called, tool_result(result), assistant(answer)


def two_calls(rng: random.Random, split: Split) -> Exchange:
    """A lookup of two subjects at once: two calls in one turn, two results, one answer."""
    job = lookup(rng, split)
    parameter = next(iter(job.arguments))
    other = made_up_name(rng, split)
    request = f"{job.request.rstrip('?.')} and of {other}?"
    called = call([(job.name, {parameter: value}) for value in (job.value, other)])
    results = [_result(rng, split, job) for _ in range(2)]
    shown = [tool_result(result) for result, _ in results]
    answer = assistant(" ".join(answer for _, answer in results))
    return Exchange("two calls", (user(request), called, *shown, answer), tools=(job.tool,))


def _result(rng: random.Random, split: Split, job: Job) -> tuple[str, str]:
    """A tool's result and what the assistant makes of it."""
    form = rng.random()
    if form < 0.08:
        reason = f"{rng.choice(('no', 'bad', 'unknown'))} {made_up_word(rng, split)}"
        return to_json({"error": reason}), f"The tool failed: {reason}."
    if form < 0.25:
        value = _plain_value(rng, split)
        return str(value), f"The result is {value}."
    keys = [job.topic] if form < 0.6 else _keys(rng, split)
    result = {key.replace(" ", "_"): _plain_value(rng, split) for key in keys}
    return to_json(result), _sentence(result)


def _keys(rng: random.Random, split: Split) -> list[str]:
    known = ("result", "status", "value", "temperature", "sky", "total", "name", "count", "unit",
             "weather", "id", "ok", "price", "answer", "wind", "degrees", "condition")  # fmt: skip
    size = rng.choice((1, 1, 2, 2, 3))
    return [
        made_up_word(rng, split) if rng.random() < 0.3 else key for key in rng.sample(known, size)
    ]


def _plain_value(rng: random.Random, split: Split) -> str | int | float:
    values: tuple[Any, ...] = (
        rng.randint(0, 99),
        rng.randint(100, 99999),
        rng.randint(1, 999) / 10,
        rng.choice(_WEATHER),
        rng.choice((*COMMON_WORDS, *JOBS)),
        made_up_name(rng, split),
        made_up_name(rng, split),
        f"{rng.randint(1, 99)} {rng.choice(('degrees', 'euros', 'metres', 'people', 'percent'))}",
    )
    value: str | int | float = rng.choice(values)
    return value


def _sentence(result: dict[str, Any]) -> str:
    told = [f"the {key.replace('_', ' ')} is {value}" for key, value in result.items()]
    text = told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"
    return f"{text[0].upper()}{text[1:]}."
