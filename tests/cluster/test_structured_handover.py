"""Answers that have a form, in a real cluster: the grammar follows its sequence as tokens alone."""

import asyncio
import json
import random
import signal

import pytest

from legato.cluster.generation import GenerationRequest
from legato.cluster.placement import Decision, Role
from legato.engine.batch import FinishReason
from legato.engine.builtin_model import builtin_model_directory
from legato.engine.errors import InvalidRequestError
from legato.engine.llm import LLM
from legato.engine.sampling_params import SamplingParams
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind
from legato.engine.tokenizer import Tokenizer
from legato.tests.cluster.harness import answers_of_one_engine, cluster

pytestmark = pytest.mark.usefixtures("local_ray")

MODEL = builtin_model_directory()
SCHEMA = {
    "type": "object",
    "properties": {
        "names": {"type": "array", "items": {"type": "string", "maxLength": 8}, "minItems": 2,
                  "maxItems": 3},
        "age": {"type": "integer", "minimum": 1, "maximum": 99},
    },
    "required": ["names", "age"],
    "additionalProperties": False,
}  # fmt: skip
FORMS = [
    StructuredOutput(StructuredOutputKind.JSON_SCHEMA, json.dumps(SCHEMA)),
    StructuredOutput(StructuredOutputKind.REGEX, r"([a-z]{3,6} ){12}\."),
    StructuredOutput(StructuredOutputKind.GRAMMAR, 'start: ("<" /[a-z]{2,5}/ ">"){9}'),
    None,
]


def request(index: int, form: StructuredOutput | None) -> GenerationRequest:
    prompt = tuple((7 * i + index) % 900 + 100 for i in range(40))
    max_tokens = 160 if form else 50
    params = SamplingParams(temperature=1, max_tokens=max_tokens, structured_output=form)
    return GenerationRequest(
        prompt_token_ids=prompt, params=params, sampling_seed=index, priority=0, salt=b""
    )


REQUESTS = [request(index, form) for index, form in enumerate(FORMS * 2)]


@pytest.fixture(scope="module")
def expected() -> list[list[int]]:
    """What one engine alone answers to REQUESTS."""
    llm = LLM(model=str(MODEL), dtype="float32", num_gpu_blocks_override=200)
    return answers_of_one_engine(llm.core, REQUESTS)


def test_the_expected_answers_have_their_form(expected: list[list[int]]) -> None:
    tokenizer = Tokenizer.load(str(MODEL))
    first = json.loads(tokenizer.decode(expected[0]))
    assert 2 <= len(first["names"]) <= 3
    assert tokenizer.decode(expected[1]).endswith(" .")


async def test_disaggregated_answers_equal_those_of_one_engine(expected: list[list[int]]) -> None:
    async with cluster(MODEL) as running:
        for _ in range(2):
            assert await asyncio.gather(*map(running.generate, REQUESTS)) == expected
        events = [event async for event in running.events(REQUESTS[0])]
        assert events[-1].finish_reason is FinishReason.STOP
        await running.until_idle()
        assert set(running.seen.decisions) == {Decision.DISAGGREGATED}
        outcomes = [outcome for outcome, _ in running.seen.handovers]
        assert outcomes.count("handed_over") >= len(REQUESTS)


async def test_a_killed_worker_costs_no_token_and_no_form(expected: list[list[int]]) -> None:
    async with cluster(MODEL, num_prefill=1, num_decode=2) as running:
        victim = next(gang for gang in running.gangs if gang.name.role is Role.DECODE)
        answers: list[list[int]] = [[] for _ in REQUESTS]

        async def follow(index: int) -> None:
            async for event in running.events(REQUESTS[index]):
                answers[index] += event.token_ids

        following = asyncio.gather(*map(follow, range(len(REQUESTS))))
        await running.until(lambda: any(len(answer) > 3 for answer in answers))
        await running.signal_worker(victim, signal.SIGKILL)
        await following
        assert answers == expected
        running.gangs.remove(victim)


async def test_bad_specs_are_refused_and_cancels_leak_nothing(expected: list[list[int]]) -> None:
    bad = request(0, StructuredOutput(StructuredOutputKind.REGEX, "("))

    async def give_up(index: int) -> None:
        form = StructuredOutput(StructuredOutputKind.REGEX, f"[a-z]{{3,9}}{index}")
        stream = running.client.generate(request(index, form))
        first = asyncio.ensure_future(anext(stream))
        await asyncio.wait([first], timeout=random.Random(index).uniform(0, 0.05))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await stream.aclose()

    async with cluster(MODEL) as running:
        with pytest.raises(InvalidRequestError, match="unclosed group") as caught:
            await running.generate(bad)
        assert caught.value.param == "structured_output"
        await asyncio.gather(*map(give_up, range(40)))
        assert await running.generate(REQUESTS[0]) == expected[0]
        await running.until_idle()
