"""What becomes of the sequences of one request."""

import asyncio
import time

import pytest

from legato.cluster.generation import GenerationRequest
from legato.deployments.openai.choice import ChoiceDelta
from legato.deployments.openai.generation import Generation, GenerationPlan, OutputOptions, Prompt
from legato.engine.batch import FinishReason
from legato.engine.errors import EngineError, WorkerLostError
from legato.engine.sampling_params import SamplingParams
from legato.tests.deployments.openai.harness import MODEL, ScriptedBackend, encode, make_service

PROMPTS = (Prompt(encode("The fox")), Prompt(encode("and")))


def _plan(num_answers: int) -> GenerationPlan:
    requests = tuple(
        GenerationRequest(prompt.token_ids, SamplingParams(max_tokens=5), seed, 0, b"")
        for prompt in PROMPTS
        for seed in range(num_answers)
    )
    return GenerationPlan(MODEL, PROMPTS, requests, OutputOptions(), time.monotonic())


class _Collected:
    def __init__(self) -> None:
        self.deltas: list[tuple[int, ChoiceDelta]] = []

    async def emit(self, index: int, delta: ChoiceDelta) -> None:
        self.deltas.append((index, delta))


def _num_ended(metrics: bytes, reason: str) -> float:
    series = f'vllm:request_success_total{{finished_reason="{reason}",model_name="{MODEL}"}} '
    [line] = [line for line in metrics.decode().splitlines() if line.startswith(series)]
    return float(line.removeprefix(series))


async def test_answers_are_numbered_prompt_by_prompt_and_prompts_count_once() -> None:
    service = make_service(ScriptedBackend())
    generation, collected = Generation(service, _plan(2)), _Collected()
    await generation.run(collected.emit)
    ends = [index for index, delta in collected.deltas if delta.finish_reason]
    assert sorted(ends) == [0, 1, 2, 3]
    usage = generation.usage()
    assert usage.prompt_tokens == sum(len(prompt.token_ids) for prompt in PROMPTS)
    assert usage.completion_tokens == 4 * 5
    assert usage.prompt_tokens_details.cached_tokens == 2 * 4
    assert _num_ended(service.metrics.render(), "length") == 4
    assert _plan(2).prompt_of(1) is PROMPTS[0] and _plan(2).prompt_of(2) is PROMPTS[1]


async def test_tokens_after_a_stop_string_count_nowhere() -> None:
    service = make_service(ScriptedBackend(tokens_per_event=5))
    params = SamplingParams(stop=("brown",), max_tokens=5)
    request = GenerationRequest((1,), params, 0, 0, b"")
    plan = GenerationPlan(MODEL, (Prompt((1,)),), (request,), OutputOptions(), time.monotonic())
    generation, collected = Generation(service, plan), _Collected()
    await generation.run(collected.emit)
    [(_, delta)] = collected.deltas
    assert delta.token_ids == encode("The quick brown")
    assert delta.finish_reason is FinishReason.STOP
    assert generation.usage().completion_tokens == 3


async def test_one_failure_is_raised_as_it_is_and_cancels_the_others() -> None:
    backend = ScriptedBackend(failure=WorkerLostError("gone"), tokens_before_failure=2)
    service = make_service(backend)
    with pytest.raises(WorkerLostError, match="gone"):
        await Generation(service, _plan(2)).run(_Collected().emit)
    assert backend.num_closed_early == 4
    metrics = service.metrics.render()
    assert _num_ended(metrics, "error") >= 1
    assert _num_ended(metrics, "error") + _num_ended(metrics, "abort") == 4


async def test_a_cancelled_run_closes_every_sequence() -> None:
    backend = ScriptedBackend(gate=asyncio.Semaphore(0))
    service = make_service(backend)
    running = asyncio.create_task(Generation(service, _plan(1)).run(_Collected().emit))
    for _ in PROMPTS:
        await backend.arrivals.get()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert backend.num_closed_early == 2
    assert _num_ended(service.metrics.render(), "abort") == 2


async def test_a_sequence_that_breaks_off_without_an_end_is_a_fault_of_ours() -> None:
    service = make_service(ScriptedBackend(breaks_off=True))
    with pytest.raises(EngineError, match="broke off"):
        await Generation(service, _plan(1)).run(_Collected().emit)
