"""Workers that die, hang or fill up: every token comes, every block comes back."""

import os
import signal
from itertools import chain
from pathlib import Path

import pytest

from legato.cluster.generation import GenerationRequest
from legato.cluster.placement import Decision, Role
from legato.engine.llm import LLM
from legato.engine.sampling_params import SamplingParams
from legato.tests.cluster.harness import Cluster, answers_of_one_engine, cluster, greedy
from legato.tests.cluster.streams import Streams

pytestmark = pytest.mark.usefixtures("local_ray")

NOTICED_S = 15.0  # five silent seconds, and a busy machine


def seeded(prompt: list[int], seed: int, max_tokens: int) -> GenerationRequest:
    params = SamplingParams(
        temperature=0.9, top_p=0.9, frequency_penalty=0.5, max_tokens=max_tokens, ignore_eos=True
    )
    return GenerationRequest(tuple(prompt), params, sampling_seed=seed, priority=0, salt=b"")


def request(index: int, num_prompt_tokens: int, max_tokens: int) -> GenerationRequest:
    """Every second one is drawn at random, from a seed of its own."""
    prompt = [(7 * i + index) % 90 + 4 for i in range(num_prompt_tokens)]
    return seeded(prompt, index, max_tokens) if index % 2 else greedy(prompt, max_tokens)


LONG_ANSWERS = [request(n, 17 * n + 5, 350) for n in range(8)]
LONG_PROMPTS = [request(n, 450, 40) for n in range(8)]  # of 29 blocks


@pytest.fixture(scope="module")
def expected(model: Path) -> dict[str, list[list[int]]]:
    """What one engine alone answers."""
    llm = LLM(model=str(model), dtype="float32", skip_tokenizer_init=True)
    return {
        "long answers": answers_of_one_engine(llm.core, LONG_ANSWERS),
        "long prompts": answers_of_one_engine(llm.core, LONG_PROMPTS),
    }


async def is_clean(running: Cluster, num_workers: int) -> None:
    await running.until(lambda: len(running.client.reports()) == num_workers)
    await running.until_idle()


@pytest.mark.parametrize(
    ("role", "number"),
    [
        (Role.DECODE, signal.SIGKILL),
        (Role.PREFILL, signal.SIGKILL),
        (Role.DECODE, signal.SIGSTOP),
    ],
)
async def test_a_worker_that_dies_or_hangs_amid_answers_costs_no_token(
    model: Path, expected: dict[str, list[list[int]]], role: Role, number: signal.Signals
) -> None:
    async with cluster(model, num_prefill=1, num_decode=2) as running:
        streams = Streams(running, LONG_ANSWERS)
        await running.until(lambda: any(streams.at_work(role)) or streams.are_over)
        of_role = (gang for gang in running.gangs if gang.name.role is role)
        victim = next(chain(streams.at_work(role), of_role))
        process_id = await running.process_id(victim)
        os.kill(process_id, number)
        await running.until(
            lambda: str(victim.name) not in {one.worker for one in running.client.reports()},
            NOTICED_S,
        )
        assert await streams.end() == expected["long answers"]
        if number is signal.SIGSTOP:
            os.kill(process_id, signal.SIGKILL)
        running.gangs.remove(victim)
        await is_clean(running, num_workers=2)


async def test_a_prefill_worker_killed_amid_transfers_leaves_no_block_behind(
    model: Path, expected: dict[str, list[list[int]]]
) -> None:
    async with cluster(model, num_prefill=2) as running:
        victim = next(gang for gang in running.gangs if gang.name.role is Role.PREFILL)
        process_id = await running.process_id(victim)
        os.kill(process_id, signal.SIGSTOP)  # so that it has its grants and has not used them
        streams = Streams(running, LONG_PROMPTS[:6])
        await running.until(lambda: num_promised_blocks(running) >= 29)
        os.kill(process_id, signal.SIGCONT)
        os.kill(process_id, signal.SIGKILL)
        assert await streams.end() == expected["long prompts"][:6]
        running.gangs.remove(victim)
        await is_clean(running, num_workers=2)


def num_promised_blocks(running: Cluster) -> int:
    return sum(
        one.num_reserved_blocks + one.num_quarantined_blocks for one in running.client.reports()
    )


async def test_while_the_decode_worker_is_full_the_prefill_worker_goes_on(
    model: Path, expected: dict[str, list[list[int]]]
) -> None:
    async with cluster(model) as running:  # with room for six of the eight
        assert await Streams(running, LONG_PROMPTS).end() == expected["long prompts"]
        outcomes = {outcome for outcome, _ in running.seen.handovers}
        assert "stayed" in outcomes or Decision.DECODE_ON_PREFILL in running.seen.decisions
        assert "handed_over" in outcomes
        await running.until_idle()
