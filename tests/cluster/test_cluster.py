"""A disaggregated cluster as a whole: real Ray, real processes, real KV blocks between them."""

import asyncio
import random
import signal
from pathlib import Path

import numpy as np
import pytest

from legato.cluster.generation import GenerationEvent
from legato.cluster.placement import Decision, Role
from legato.engine.llm import LLM
from legato.engine.sampling_params import Pooling, SamplingParams
from legato.tests.cluster.harness import Cluster, cluster, greedy
from legato.tests.family_traps import TRAPS

pytestmark = pytest.mark.usefixtures("local_ray")

PROMPTS = [[(7 * i + n) % 90 + 4 for i in range(n)] for n in (1, 5, 16, 17, 100, 333)]


def answers_of_one_engine(model: Path, prompts: list[list[int]]) -> list[list[int]]:
    """Greedy answers of 40 tokens."""
    llm = LLM(model=str(model), dtype="float32", skip_tokenizer_init=True)
    params = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
    return [list(out.outputs[0].token_ids) for out in llm.generate(prompts, params, use_tqdm=False)]


@pytest.fixture(scope="module")
def expected(model: Path) -> list[list[int]]:
    """What one engine alone answers to PROMPTS."""
    return answers_of_one_engine(model, PROMPTS)


async def test_disaggregated_answers_equal_those_of_one_engine(
    model: Path, expected: list[list[int]]
) -> None:
    async with cluster(model) as running:
        for _ in range(2):  # the second time with prefix hits on both sides
            answers = await asyncio.gather(*(running.generate(greedy(p, 40)) for p in PROMPTS))
            assert answers == expected
        await running.until_idle()
        assert set(running.seen.decisions) == {Decision.DISAGGREGATED}
        outcomes = [outcome for outcome, _ in running.seen.handovers]
        assert outcomes.count("handed_over") >= len(PROMPTS)


@pytest.mark.parametrize("family", ["qwen3_moe", "deepseek_v3"])
async def test_experts_and_latents_answer_the_same_on_two_workers(
    tmp_path: Path, family: str
) -> None:
    model = TRAPS[family].make(tmp_path)
    async with cluster(model) as running:
        answers = await asyncio.gather(*(running.generate(greedy(p, 40)) for p in PROMPTS))
        assert set(running.seen.decisions) == {Decision.DISAGGREGATED}
    assert answers == answers_of_one_engine(model, PROMPTS)


async def test_a_prefix_that_the_decode_worker_has_is_not_sent_again(model: Path) -> None:
    async with cluster(model) as running:
        prompt = PROMPTS[-1]
        await running.generate(greedy(prompt, 8))
        await running.generate(greedy([*prompt, 9], 8))
        first, second = (times.transfer_bytes for _, times in running.seen.handovers)
        assert 0 < second <= first / 5


async def test_short_prompts_are_computed_by_the_decode_worker(
    model: Path, expected: list[list[int]]
) -> None:
    async with cluster(model, local_prefill_max_tokens=32) as running:
        assert await running.generate(greedy(PROMPTS[2], 40)) == expected[2]
        assert await running.generate(greedy(PROMPTS[5], 40)) == expected[5]
        assert running.seen.decisions == [Decision.LOCAL, Decision.DISAGGREGATED]


async def test_penalties_seeds_and_logprobs_survive_the_handover(model: Path) -> None:
    request = greedy(
        PROMPTS[4],
        30,
        presence_penalty=1.0,
        repetition_penalty=1.3,
        bad_words_token_ids=((5, 6),),
        logprobs=2,
        prompt_logprobs=1,
        pooling=Pooling.MEAN,
    )
    async with cluster(model) as running:
        away = [event async for event in running.events(request)]
    async with cluster(model, num_prefill=0) as running:
        alone = [event async for event in running.events(request)]
    assert [event.token_ids for event in away] == [event.token_ids for event in alone]
    for there, here in zip(away, alone, strict=True):
        assert [one.token_id for one in there.logprobs] == [one.token_id for one in here.logprobs]
        for one, other in zip(there.logprobs, here.logprobs, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
    assert not any(event.prompt_logprobs or event.embedding for event in away[1:])
    assert_same_of_prompt(away[0], alone[0], PROMPTS[4])


def assert_same_of_prompt(one: GenerationEvent, other: GenerationEvent, prompt: list[int]) -> None:
    assert [entry.token_id for entry in one.prompt_logprobs] == prompt[1:]
    for entry, known in zip(one.prompt_logprobs, other.prompt_logprobs, strict=True):
        assert entry.logprob == pytest.approx(known.logprob, abs=1e-4)
    vector, expected = (np.frombuffer(event.embedding, "<f4") for event in (one, other))
    assert vector.tolist() == pytest.approx(expected.tolist(), abs=1e-4)


async def test_a_cancelled_request_frees_everything_within_moments(model: Path) -> None:
    async with cluster(model) as running:
        stream = running.client.generate(greedy(PROMPTS[4], 400))
        await anext(stream)
        await stream.aclose()
        await running.until_idle()


async def test_a_thousand_requests_with_random_cancels_leak_nothing(model: Path) -> None:
    rng = random.Random(5)
    limit = asyncio.Semaphore(32)

    async def one(running: Cluster) -> None:
        prompt = [rng.randrange(4, 97) for _ in range(rng.randrange(1, 90))]
        keep = rng.choice([0, 1, 2, 3, 99])
        async with limit:
            stream = running.client.generate(greedy(prompt, rng.randrange(1, 8)))
            for _ in range(keep):
                if await anext(stream, None) is None:
                    break
            if keep == 0:  # gone before the first token, at a random moment
                first = asyncio.ensure_future(anext(stream))
                await asyncio.wait([first], timeout=rng.random() * 0.02)
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
            await stream.aclose()

    async with cluster(model) as running:
        await asyncio.gather(*(one(running) for _ in range(1000)))
        await running.until_idle()


@pytest.mark.parametrize("role", [Role.DECODE, Role.PREFILL])
async def test_a_killed_worker_costs_no_token(
    model: Path, expected: list[list[int]], role: Role
) -> None:
    async with cluster(model, num_prefill=1, num_decode=2) as running:
        victim = next(gang for gang in running.gangs if gang.name.role is role)
        answers: list[list[int]] = [[] for _ in PROMPTS]

        async def follow(index: int) -> None:
            async for event in running.events(greedy(PROMPTS[index], 40)):
                answers[index] += event.token_ids

        following = asyncio.gather(*(follow(index) for index in range(len(PROMPTS))))
        await running.until(lambda: any(len(answer) > 3 for answer in answers))
        await running.signal_worker(victim, signal.SIGKILL)
        await following
        assert answers == expected
        running.gangs.remove(victim)
        await running.until(lambda: len(running.client.reports()) == 2)
        await running.until_idle()


async def test_a_hung_worker_is_noticed_and_its_requests_go_on_elsewhere(
    model: Path, expected: list[list[int]]
) -> None:
    async with cluster(model, num_prefill=1, num_decode=2) as running:
        victims = [gang for gang in running.gangs if gang.name.role is Role.DECODE][:1]
        async with asyncio.timeout(60):
            following = [
                asyncio.ensure_future(running.generate(greedy(prompt, 40))) for prompt in PROMPTS
            ]
            await running.signal_worker(victims[0], signal.SIGSTOP)
            assert await asyncio.gather(*following) == expected
