"""The engine's thread around a real core, whose model is a stand-in that samples token 7."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
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
NAP_S = 0.1
LIMITS = EngineLimits(num_blocks=4, block_size=4, vocab_size=10, max_model_len=100)


@dataclass(frozen=True)
class Finished:
    """A result that nobody has to wait for."""

    result: RunResult

    def wait(self) -> RunResult:
        return self.result


class Sevens:
    """Samples token 7 for everyone; fails in every step once `error` is set.

    `on_launch` is called with the number of each launch.
    """

    def __init__(self, pipeline_depth: int) -> None:
        self.pipeline_depth = pipeline_depth
        self.error: Exception | None = None
        self.on_launch: Callable[[int], None] = lambda number: None
        self._num_launches = 0

    def launch(self, batch: ScheduledBatch) -> Finished:
        if self.error is not None:
            raise self.error
        self._num_launches += 1
        self.on_launch(self._num_launches)
        num_sampled = sum(one.sampling is not None for one in batch.sequences)
        return Finished(RunResult((SampledToken(7, None),) * num_sampled))


class Engine:
    """An engine loop, and what it calls on the event loop, in order."""

    def __init__(self, pipeline_depth: int) -> None:
        self.runner = Sevens(pipeline_depth)
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


@pytest.fixture(params=[1, 2], ids=["depth1", "depth2"])
def depth(request: pytest.FixtureRequest) -> int:
    """Steps under way."""
    depth: int = request.param
    return depth


def sequence(max_tokens: int, prompt: tuple[int, ...] = (1, 2, 3)) -> SequenceRequest:
    params = SamplingParams(temperature=0, max_tokens=max_tokens)
    return SequenceRequest(prompt, params, sampling_seed=0)


async def test_the_outcome_of_a_command_comes_before_the_steps_that_follow_it(depth: int) -> None:
    engine = Engine(depth)
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


async def test_a_refused_command_is_told_and_harms_nobody(depth: int) -> None:
    engine = Engine(depth)
    with pytest.raises(InvalidRequestError):
        await engine.ask(lambda core: core.add(sequence(1, prompt=())))
    assert await engine.ask(lambda core: core.add(sequence(1))) == 0
    report = await asyncio.wait_for(engine.steps.get(), 10)
    assert [one.token_ids for one in report.result.outputs] == [(7,)]
    assert report.duration_s > 0
    await engine.stop()


async def test_a_failed_step_ends_the_thread_and_is_reported_once(depth: int) -> None:
    engine = Engine(depth)
    engine.runner.error = RuntimeError("no more memory")
    engine.loop.post(partial(_add, sequence(1)))
    error = await asyncio.wait_for(engine.death, 10)
    assert isinstance(error, EngineError)
    assert "no more memory" in str(error)
    await engine.stop()
    assert engine.steps.empty()


async def test_a_posted_command_that_fails_is_a_bug_and_ends_the_engine(depth: int) -> None:
    engine = Engine(depth)
    engine.loop.post(lambda core: core.give_back((99,)))
    assert await asyncio.wait_for(engine.death, 10)
    await engine.stop()


async def test_an_idle_engine_takes_no_step(depth: int) -> None:
    engine = Engine(depth)
    for _ in range(5):
        await engine.ask(lambda core: core.stats())
    await engine.stop()
    assert engine.steps.empty()


async def test_a_starved_engine_waits_between_its_steps_and_a_command_wakes_it(depth: int) -> None:
    engine = Engine(depth)
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


async def test_nothing_runs_after_the_stop(depth: int) -> None:
    engine = Engine(depth)
    ran: list[EngineCore] = []
    engine.loop.post(ran.append)
    engine.loop.stop()
    engine.loop.post(ran.append)
    await engine.stop()
    assert len(ran) == 1


async def test_progress_is_seen_from_outside(depth: int) -> None:
    engine = Engine(depth)
    before = engine.loop.last_progress
    engine.loop.post(partial(_add, sequence(2)))
    for _ in range(2):
        await asyncio.wait_for(engine.steps.get(), 10)
    assert engine.loop.last_progress > before
    await engine.stop()


async def test_the_time_of_a_step_that_was_under_way_begins_where_the_one_before_it_ended() -> None:
    engine = Engine(pipeline_depth=2)

    def nap_between_steps(num_launches: int) -> None:
        if num_launches == 3:
            engine.loop.post(lambda core: time.sleep(NAP_S))

    engine.runner.on_launch = nap_between_steps
    began = time.monotonic()
    engine.loop.post(partial(_add, sequence(6)))
    reports = [await asyncio.wait_for(engine.steps.get(), 10) for _ in range(6)]
    durations = [report.duration_s for report in reports]
    assert durations[2] >= NAP_S
    assert sum(durations) <= time.monotonic() - began
    await engine.stop()


async def test_the_time_of_a_step_that_was_not_under_way_is_its_own() -> None:
    engine = Engine(pipeline_depth=2)
    for _ in range(2):
        engine.loop.post(partial(_add, sequence(1)))
        report = await asyncio.wait_for(engine.steps.get(), 10)
        assert 0 < report.duration_s < NAP_S
        await engine.ask(lambda core: time.sleep(2 * NAP_S))
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
