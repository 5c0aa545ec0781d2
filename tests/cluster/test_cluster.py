"""A disaggregated cluster as a whole: real Ray, real processes, real KV blocks between them."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from legato.cluster.generation import GenerationEvent, GenerationRequest
from legato.cluster.placement import DEFAULT_PREFILL_TOKENS_PER_S, Decision, Role
from legato.engine.llm import LLM
from legato.engine.sampling_params import Pooling, SamplingParams
from legato.tests.cluster.harness import Cluster, answers_of_one_engine, cluster, greedy
from legato.tests.family_traps import TRAPS
from legato.tests.general_traps import GENERAL_TRAPS

pytestmark = pytest.mark.usefixtures("local_ray")

PROMPTS = [[(7 * i + n) % 90 + 4 for i in range(n)] for n in (1, 5, 16, 17, 100, 333)]


def answers(model: Path, requests: Sequence[GenerationRequest]) -> list[list[int]]:
    """What one engine alone says."""
    llm = LLM(model=str(model), dtype="float32", skip_tokenizer_init=True)
    return answers_of_one_engine(llm.core, requests)


@pytest.fixture(scope="module")
def expected(model: Path) -> list[list[int]]:
    """What one engine alone answers to PROMPTS."""
    return answers(model, [greedy(prompt, 40) for prompt in PROMPTS])


async def test_disaggregated_answers_equal_those_of_one_engine(
    model: Path, expected: list[list[int]]
) -> None:
    async with cluster(model) as running:
        for _ in range(2):  # the second time with prefix hits on both sides
            away = await asyncio.gather(*(running.generate(greedy(p, 40)) for p in PROMPTS))
            assert away == expected
        await running.until_idle()
        assert set(running.seen.decisions) == {Decision.DISAGGREGATED}
        outcomes = [outcome for outcome, _ in running.seen.handovers]
        assert outcomes.count("handed_over") >= len(PROMPTS)
        predicted, actual = zip(*running.seen.first_tokens, strict=True)
        assert sorted(predicted) == sorted(running.seen.predicted_ttfts_s) and min(actual) > 0
        gaps_s = running.seen.handover_gaps_s
        assert len(gaps_s) == outcomes.count("handed_over") and min(gaps_s) >= 0
        roads = {report.role: report.transports for report in running.client.reports()}
        decode = next(gang for gang in running.gangs if gang.name.role is Role.DECODE)
        assert roads == {"prefill": {str(decode.name): "shared_memory"}, "decode": {}}


@pytest.mark.parametrize("family", ["qwen3_moe", "deepseek_v3", "cohere2"])
async def test_experts_latents_and_transformers_code_answer_the_same_on_two_workers(
    tmp_path: Path, family: str
) -> None:
    model = (TRAPS | GENERAL_TRAPS)[family].make(tmp_path)
    async with cluster(model) as running:
        away = await asyncio.gather(*(running.generate(greedy(p, 40)) for p in PROMPTS))
        assert set(running.seen.decisions) == {Decision.DISAGGREGATED}
    assert away == answers(model, [greedy(prompt, 40) for prompt in PROMPTS])


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


async def test_the_next_turn_finds_the_answer_where_it_was_generated(
    model: Path, expected: list[list[int]]
) -> None:
    async with cluster(model) as running:
        await running.until_handed_over(greedy(PROMPTS[4], 40))
        await running.stop_prefill()
        await running.until_idle()
        rate = running.client.reports()[0].prefill_tokens_per_s or DEFAULT_PREFILL_TOKENS_PER_S
        next_turn = greedy([*PROMPTS[4], *expected[4], 9, 8, 7], 40)
        events = [event async for event in running.events(next_turn)]
        # Blocks of 16, the answer's among them; its last token was never computed.
        num_cached_tokens = (100 + 39) // 16 * 16
        assert events[0].num_cached_tokens == num_cached_tokens
        num_new_tokens = len(next_turn.prompt_token_ids) - num_cached_tokens
        # The router knew.
        assert running.seen.predicted_ttfts_s[-1] == pytest.approx(num_new_tokens / rate)
    alone = answers(model, [next_turn])
    assert [[token for event in events for token in event.token_ids]] == alone


async def test_all_that_sampling_knows_survives_the_handover(model: Path) -> None:
    params = SamplingParams(
        top_p=0.9,
        top_k=40,
        min_p=0.01,
        max_tokens=30,
        min_tokens=20,
        stop_token_ids=(90,),
        logit_bias={90: 2.0, 12: -3.0},
        frequency_penalty=0.5,
        presence_penalty=1.0,
        repetition_penalty=1.3,
        bad_words_token_ids=((5, 6),),
        logprobs=2,
        prompt_logprobs=1,
        pooling=Pooling.MEAN,
    )
    requests = [
        GenerationRequest(tuple(PROMPTS[4]), one, sampling_seed=11, priority=0, salt=b"away")
        for one in (replace(params, temperature=0), replace(params, temperature=0.8))
    ]
    async with cluster(model) as running:
        away = [await running.until_handed_over(request) for request in requests]
        await running.stop_prefill()
        for request, events in zip(requests, away, strict=True):
            # Another salt: nothing of it is in a cache.
            alone = [event async for event in running.events(replace(request, salt=b"alone"))]
            assert running.seen.decisions[-1] is Decision.LOCAL
            assert_same_answers(events, alone)
            assert_same_of_prompt(events[0], alone[0], PROMPTS[4])


def assert_same_answers(away: list[GenerationEvent], alone: list[GenerationEvent]) -> None:
    assert [event.token_ids for event in away] == [event.token_ids for event in alone]
    assert not any(event.prompt_logprobs or event.embedding for event in away[1:])
    for there, here in zip(away, alone, strict=True):
        assert there.finish_reason == here.finish_reason
        assert [one.token_id for one in there.logprobs] == [one.token_id for one in here.logprobs]
        for one, other in zip(there.logprobs, here.logprobs, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def assert_same_of_prompt(one: GenerationEvent, other: GenerationEvent, prompt: list[int]) -> None:
    assert [entry.token_id for entry in one.prompt_logprobs] == prompt[1:]
    for entry, known in zip(one.prompt_logprobs, other.prompt_logprobs, strict=True):
        assert entry.logprob == pytest.approx(known.logprob, abs=1e-4)
    vector, expected = (np.frombuffer(event.embedding, "<f4") for event in (one, other))
    assert vector.tolist() == pytest.approx(expected.tolist(), abs=1e-4)


async def test_the_weights_of_the_roles_change_under_running_streams(
    model: Path, expected: list[list[int]]
) -> None:
    async with cluster(model, local_prefill_max_tokens=1000) as running:
        async with asyncio.TaskGroup() as streams:
            before = [streams.create_task(running.generate(greedy(p, 40))) for p in PROMPTS]
            await running.until(lambda: len(running.seen.decisions) == len(PROMPTS))
            for gang in running.gangs:
                await gang.configure("INFO", prefill_token_budget=8)
            running.client.configure(max_queued_requests=100, local_prefill_max_tokens=0)
            after = [streams.create_task(running.generate(greedy(p, 40))) for p in PROMPTS]
        assert [one.result() for one in before] == [one.result() for one in after] == expected
        assert set(running.seen.decisions[len(PROMPTS) :]) == {Decision.DISAGGREGATED}
        assert running.seen.num_failovers == 0


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


async def test_what_ends_with_its_first_token_stays_on_the_prefill_worker(
    model: Path, expected: list[list[int]]
) -> None:
    async with cluster(model) as running:
        assert await running.generate(greedy(PROMPTS[5], 1)) == expected[5][:1]
        assert running.seen.decisions == [Decision.PREFILL_ONLY]
