"""Sequences that are to leave, with one step under way or two."""

from collections.abc import Callable
from functools import partial

import pytest

from legato.engine.batch import SequenceRequest
from legato.engine.core import EngineCore
from legato.engine.handover import LeavingProgress
from legato.engine.sampling_params import SamplingParams
from legato.tests.engine.fake_runner import FakeRunner, answer, fake_engine

PROMPT = tuple(range(1, 11))  # two full blocks and a half
MakeEngine = Callable[..., tuple[EngineCore, FakeRunner]]


@pytest.fixture(params=[1, 2], ids=["depth1", "depth2"])
def make_engine(request: pytest.FixtureRequest) -> MakeEngine:
    """`fake_engine` of one pipeline depth."""
    return partial(fake_engine, pipeline_depth=request.param)


def request(prompt: tuple[int, ...] = PROMPT, max_tokens: int = 12) -> SequenceRequest:
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
    return SequenceRequest(prompt, params, 0)


def run(core: EngineCore) -> tuple[list[int], list[LeavingProgress]]:
    """All tokens that come out until nothing goes on any more, and what is told."""
    tokens: list[int] = []
    told: list[LeavingProgress] = []
    while core.has_work():
        result = core.step()
        core.check_integrity()
        tokens += [token for output in result.outputs for token in output.token_ids]
        told += result.leaving
    return tokens, told


def indices(progress: LeavingProgress) -> list[int]:
    return [block.index for block in progress.blocks]


def test_each_step_tells_of_the_blocks_that_it_filled(make_engine: MakeEngine) -> None:
    core, _ = make_engine(max_num_batched_tokens=5)
    core.add(request(), leaves=True)
    _, told = run(core)
    assert [indices(progress) for progress in told] == [[0], [1]]
    assert told[0].paused is None and told[1].paused is not None
    assert not any(progress.was_preempted for progress in told)


def test_it_stands_still_at_its_first_token_and_nothing_is_planned_beyond(
    make_engine: MakeEngine,
) -> None:
    core, runner = make_engine()
    core.add(request(), leaves=True)
    tokens, (progress,) = run(core)
    assert tokens == answer(PROMPT, 12, ignore_eos=True)[:1]
    assert len(runner.batches) == 1
    assert core.stats().num_paused == 1
    assert progress.paused is not None
    assert progress.paused.num_computed_tokens == len(PROMPT)
    assert progress.paused.output_token_ids == tuple(tokens)
    assert len(progress.paused.block_ids) == 3
    assert progress.paused.block_ids[:2] == tuple(block.block_id for block in progress.blocks)


def test_it_goes_on_when_it_is_resumed(make_engine: MakeEngine) -> None:
    core, _ = make_engine()
    seq_id = core.add(request(), leaves=True)
    first, _ = run(core)
    core.resume(seq_id)
    rest, told = run(core)
    assert first + rest == answer(PROMPT, 12, ignore_eos=True)
    assert [indices(progress) for progress in told] == [[2], [3], [4]]


def test_resumed_before_its_first_token_it_never_stands_still(make_engine: MakeEngine) -> None:
    core, _ = make_engine()
    seq_id = core.add(request(), leaves=True)
    core.resume(seq_id)
    tokens, told = run(core)
    assert tokens == answer(PROMPT, 12, ignore_eos=True)
    assert all(progress.paused is None for progress in told)


def test_nothing_is_told_of_one_that_stays(make_engine: MakeEngine) -> None:
    core, _ = make_engine()
    seq_id = core.add(request(), leaves=True)
    core.stay(seq_id)
    core.resume(seq_id)
    tokens, told = run(core)
    assert tokens == answer(PROMPT, 12, ignore_eos=True)
    assert told == []


def test_one_that_ends_with_its_first_token_is_just_over(make_engine: MakeEngine) -> None:
    core, _ = make_engine()
    core.add(request(max_tokens=1), leaves=True)
    tokens, told = run(core)
    assert tokens == answer(PROMPT, 1, ignore_eos=True)
    assert told == []
    assert core.stats().num_free_blocks == 16


def test_pins_keep_blocks_until_they_are_given_back(make_engine: MakeEngine) -> None:
    core, _ = make_engine()
    seq_id = core.add(request(), leaves=True)
    _, (progress,) = run(core)
    assert progress.paused is not None
    core.abort(seq_id)
    assert core.stats().num_free_blocks == 13
    core.unpin([block.block_id for block in progress.blocks])
    assert core.stats().num_free_blocks == 13
    core.unpin(progress.paused.block_ids)
    assert core.stats().num_free_blocks == 16


def test_a_preemption_is_told_and_all_blocks_come_again() -> None:
    core, _ = fake_engine(5, pipeline_depth=1, max_num_batched_tokens=4)
    core.add(request((30, 31), max_tokens=14))  # ranks before the other, and grows
    leaving = core.add(request(max_tokens=6), leaves=True)
    core.resume(leaving)
    told: list[LeavingProgress] = []
    for _ in range(60):
        for progress in core.step().leaving:
            core.unpin([block.block_id for block in progress.blocks])
            told.append(progress)
    assert not core.has_work()
    (preempted,) = [place for place, progress in enumerate(told) if progress.was_preempted]
    assert {index for progress in told[preempted:] for index in indices(progress)} == {0, 1, 2}
    assert core.stats().num_free_blocks == 5


def test_a_preemption_is_told_even_when_nothing_can_go_on() -> None:
    core, _ = fake_engine(4, pipeline_depth=1)
    core.add(request((30, 31), max_tokens=14))
    core.add(request((1, 2, 3, 4, 5, 6), max_tokens=6), leaves=True)
    pins: list[int] = []
    for _ in range(40):
        for progress in core.step().leaving:
            core.unpin(pins)
            pins = [block.block_id for block in progress.blocks]
            if progress.paused is not None:
                core.unpin(progress.paused.block_ids)
                core.resume(progress.seq_id)
    core.unpin(pins)
    assert not core.has_work()
    assert core.stats().num_free_blocks == 4
