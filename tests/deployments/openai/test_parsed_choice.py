"""Tokens, thoughts and calls leave a choice together."""

import dataclasses
from typing import Any

import pytest

from legato.cluster.generation import GenerationEvent
from legato.deployments.openai.choice import ChoiceDelta, join_deltas
from legato.deployments.openai.message.message_parser import CallReading, MessageReading
from legato.deployments.openai.message.parts import (
    CallArguments,
    CallOpened,
    ReasoningPart,
    TextPart,
)
from legato.deployments.openai.message.reasoning import THINK_TAGS
from legato.deployments.openai.message.tool_syntax import HERMES
from legato.deployments.openai.parsed_choice import ParsedChoice
from legato.engine.batch import FinishReason
from legato.engine.sampling_params import SamplingParams
from legato.engine.tokenizer import Tokenizer
from legato.tests.deployments.openai.harness import EOS_ID, encode, tiny_tokenizer

READING = MessageReading(
    THINK_TAGS["qwen3"], calls=CallReading(HERMES, frozenset({"add"})), streams=True
)
THOUGHT = "<think>the fox</think>"
CALL = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'


def _run(
    text: str, reading: MessageReading = READING, **params: Any
) -> tuple[ParsedChoice, list[ChoiceDelta]]:
    """All deltas, up to the one that ends the answer."""
    choice = ParsedChoice(Tokenizer(tiny_tokenizer()), SamplingParams(**params), reading)
    deltas = []
    for token_id in encode(text):
        deltas.append(choice.feed(GenerationEvent((token_id,))))
        if deltas[-1].finish_reason is not None:
            return choice, deltas
    end = GenerationEvent((EOS_ID,), finish_reason=FinishReason.STOP, stop_token_id=EOS_ID)
    return choice, [*deltas, choice.feed(end)]


@pytest.mark.parametrize("shows_reasoning", [True, False])
def test_tokens_do_not_wait_for_parts(shows_reasoning: bool) -> None:
    reading = dataclasses.replace(READING, shows_reasoning=shows_reasoning)
    text = THOUGHT + "well " + CALL
    _, deltas = _run(text, reading)
    assert [delta.token_ids for delta in deltas] == [(i,) for i in (*encode(text), EOS_ID)]
    assert any(not delta.parts for delta in deltas[:-1])


def test_the_deltas_joined_are_the_message() -> None:
    _, deltas = _run(THOUGHT + "well " + CALL)
    joined = join_deltas(deltas)
    assert joined.parts is not None
    thought, text, opened, arguments = joined.parts
    assert (thought, text) == (ReasoningPart("the fox"), TextPart("well"))
    assert isinstance(opened, CallOpened) and opened.name == "add"
    assert arguments == CallArguments(0, "{}")
    assert joined.ends_in_calls


def test_tokens_of_a_thought_are_counted() -> None:
    num_thought = len(encode(THOUGHT))
    for text in (THOUGHT + "well, the quick brown fox", THOUGHT):
        choice, _ = _run(text)
        assert num_thought - 3 <= choice.num_reasoning_tokens <= num_thought
        assert choice.num_tokens == len(encode(text)) + 1
    assert _run("the fox")[0].num_reasoning_tokens == 0


def test_a_message_that_names_its_function_ends_plainly() -> None:
    calls = CallReading(HERMES, frozenset({"add"}), ends_as_stop=True)
    _, deltas = _run(CALL, MessageReading(calls=calls))
    assert not deltas[-1].ends_in_calls
    assert deltas[-1].finish_reason is FinishReason.STOP


@pytest.mark.parametrize(
    ("include", "answer"), [(False, "The quick brown"), (True, "The quick brown fox")]
)
def test_a_stop_string_ends_the_answer_and_not_the_thought(include: bool, answer: str) -> None:
    text = THOUGHT + "The quick brown fox jumps"
    _, deltas = _run(text, stop=(" fox",), include_stop_str_in_output=include)
    joined = join_deltas(deltas)
    assert joined.parts == (ReasoningPart("the fox"), TextPart(answer))
    assert (joined.finish_reason, joined.stop_reason) == (FinishReason.STOP, " fox")
    assert joined.token_ids == encode(THOUGHT + "The quick brown fox")


def test_text_that_only_began_like_a_stop_string_comes_with_the_end() -> None:
    _, deltas = _run(THOUGHT + "The quick brown f", stop=(" fox",))
    assert join_deltas(deltas).parts == (ReasoningPart("the fox"), TextPart("The quick brown f"))
