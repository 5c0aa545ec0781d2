"""The engine's thread around a real core, whose model is a stand-in that samples token 7."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import pytest

from legato.cluster.engine_loop import STARVED_WAIT_S, EngineLoop, StepReport
from legato.engine.batch import RunResult, SampledToken, ScheduledBatch, SequenceRequest
from legato.engine.core import EngineCore
from legato.engine.errors import EngineError, InvalidRequestError
from legato.engine.handover import BlockReservation
from legato.engine.limits import EngineLimits
from legato.engine.sampling_params import SamplingParams

T = TypeVar("T")
LIMITS = EngineLimits(num_blocks=4, block_size=4, vocab_size=10, max_model_len=100)


class Sevens:
    """Samples token 7 for everyone; fails in every step once `error` is set."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def run(self, batch: ScheduledBatch) -> RunResult:
        if self.error is not None:
            raise self.error
        num_sampled = sum(one.sampling is not None for one in batch.sequences)
        return RunResult((SampledToken(7, None),) * num_sampled)


class Engine:
    """An engine loop, and what it calls on the event loop, in order."""

    def __init__(self) -> None:
        self.runner = Sevens()
        self.steps: asyncio.Queue[StepReport] = asyncio.Queue()
        self.death: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.journal: list[str] = []
        self.loop = EngineLoop(
            EngineCore(self.runner, LIMITS), self._on_step, self.death.set_result
        )
        self.loop.start()

    def _on_step(self, report: StepReport) -> None:
        self.steps.put_nowait(report)
        self.journal += [f"token of {one.seq_id}" for one in report.result.outputs]

    async def ask(self, command: Callable[[EngineCore], T]) -> T:
        """The outcome of a command."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.loop.request(command, answer.set_result, answer.set_exception)
        return await asyncio.wait_for(answer, 10)

    async def stop(self) -> None:
        """Returns when the thread has ended."""
        self.loop.stop()
        async with asyncio.timeout(10):
            while self.loop.is_alive:
                await asyncio.sleep(0.002)


def sequence(max_tokens: int, prompt: tuple[int, ...] = (1, 2, 3)) -> SequenceRequest:
    params = SamplingParams(temperature=0, max_tokens=max_tokens)
    return SequenceRequest(prompt, params, sampling_seed=0)


async def test_the_outcome_of_a_command_comes_before_the_steps_that_follow_it() -> None:
    engine = Engine()
    finished = asyncio.Event()

    def added(seq_id: int) -> None:
        engine.journal.append(f"added {seq_id}")
        if seq_id == 2:
            finished.set()

    for _ in range(3):
        engine.loop.request(lambda core: core.add(sequence(4)), added, _raise)
    await asyncio.wait_for(finished.wait(), 10)
    while len(engine.journal) < 3 + 3 * 4:
        await asyncio.wait_for(engine.steps.get(), 10)
    await engine.stop()
    for seq_id in range(3):
        ours = [line for line in engine.journal if line.endswith(str(seq_id))]
        assert ours == [f"added {seq_id}", *[f"token of {seq_id}"] * 4]


async def test_a_refused_command_is_told_and_harms_nobody() -> None:
    engine = Engine()
    with pytest.raises(InvalidRequestError):
        await engine.ask(lambda core: core.add(sequence(1, prompt=())))
    assert await engine.ask(lambda core: core.add(sequence(1))) == 0
    report = await asyncio.wait_for(engine.steps.get(), 10)
    assert [one.token_ids for one in report.result.outputs] == [(7,)]
    assert report.duration_s > 0
    await engine.stop()


async def test_a_failed_step_ends_the_thread_and_is_reported_once() -> None:
    engine = Engine()
    engine.runner.error = RuntimeError("no more memory")
    engine.loop.post(partial(_add, sequence(1)))
    error = await asyncio.wait_for(engine.death, 10)
    assert isinstance(error, EngineError)
    assert "no more memory" in str(error)
    await engine.stop()
    assert engine.steps.empty()


async def test_a_posted_command_that_fails_is_a_bug_and_ends_the_engine() -> None:
    engine = Engine()
    engine.loop.post(lambda core: core.give_back((99,)))
    assert await asyncio.wait_for(engine.death, 10)
    await engine.stop()


async def test_an_idle_engine_takes_no_step() -> None:
    engine = Engine()
    for _ in range(5):
        await engine.ask(lambda core: core.stats())
    await engine.stop()
    assert engine.steps.empty()


async def test_a_starved_engine_waits_between_its_steps_and_a_command_wakes_it() -> None:
    engine = Engine()
    all_blocks = await engine.ask(_reserve_all)
    await engine.ask(lambda core: core.add(sequence(1)))
    began = time.monotonic()
    for _ in range(4):
        report = await asyncio.wait_for(engine.steps.get(), 10)
        assert not report.result.outputs
    assert time.monotonic() - began > 2 * STARVED_WAIT_S
    engine.loop.post(lambda core: core.give_back(all_blocks))
    while not report.result.outputs:
        report = await asyncio.wait_for(engine.steps.get(), 10)
    await engine.stop()


async def test_nothing_runs_after_the_stop() -> None:
    engine = Engine()
    ran: list[EngineCore] = []
    engine.loop.post(ran.append)
    engine.loop.stop()
    engine.loop.post(ran.append)
    await engine.stop()
    assert len(ran) == 1


async def test_progress_is_seen_from_outside() -> None:
    engine = Engine()
    before = engine.loop.last_progress
    engine.loop.post(partial(_add, sequence(2)))
    for _ in range(2):
        await asyncio.wait_for(engine.steps.get(), 10)
    assert engine.loop.last_progress > before
    await engine.stop()


def _raise(error: Exception) -> None:
    raise error


def _add(request: SequenceRequest, core: EngineCore) -> None:
    core.add(request)


def _reserve_all(core: EngineCore) -> tuple[int, ...]:
    num_tokens = LIMITS.num_blocks * LIMITS.block_size - 1
    reservation: BlockReservation | None = core.reserve(sequence(1, (1,) * num_tokens), 0)
    assert reservation is not None
    return reservation.fresh_block_ids
