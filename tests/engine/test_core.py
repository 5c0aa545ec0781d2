"""The engine's behaviour as its owner sees it: the same whether one step is under way or two."""

from collections.abc import Callable
from functools import partial

import pytest

from legato.engine.batch import FinishReason, SequenceOutput, SequenceRequest
from legato.engine.core import EngineCore
from legato.engine.errors import (
    ConfigError,
    ContextLengthError,
    EngineError,
    InvalidRequestError,
    OverloadedError,
)
from legato.engine.sampling_params import SamplingParams
from legato.tests.engine.fake_runner import EOS, FakeRunner, answer, fake_engine

PROMPT = tuple(range(1, 11))
MakeEngine = Callable[..., tuple[EngineCore, FakeRunner]]


@pytest.fixture(params=[1, 2], ids=["depth1", "depth2"])
def make_engine(request: pytest.FixtureRequest) -> MakeEngine:
    """`fake_engine` of one pipeline depth."""
    return partial(fake_engine, pipeline_depth=request.param)


def request(
    prompt: tuple[int, ...] = PROMPT, max_tokens: int = 12, output: tuple[int, ...] = ()
) -> SequenceRequest:
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
    return SequenceRequest(prompt, params, 0, output)


def run(core: EngineCore) -> list[SequenceOutput]:
    outputs: list[SequenceOutput] = []
    while core.has_work():
        outputs += core.step().outputs
        core.check_integrity()
    return outputs


def settle(core: EngineCore) -> None:
    """Collects the steps under way, of which nobody wants anything any more."""
    while core.num_steps_under_way > 0:
        assert core.step().outputs == ()
        core.check_integrity()


def tokens(outputs: list[SequenceOutput]) -> list[int]:
    return [token_id for output in outputs for token_id in output.token_ids]


def expected(prompt: tuple[int, ...] = PROMPT, max_tokens: int = 12) -> list[int]:
    return answer(prompt, max_tokens, ignore_eos=True)


def move(source: FakeRunner, target: FakeRunner, pairs: list[tuple[int, int]]) -> None:
    for source_id, target_id in pairs:
        target.kv[target_id] = list(source.kv[source_id])


# ---------------------------------------------------------------- requests


def test_a_request_is_answered_token_by_token(make_engine: MakeEngine) -> None:
    core, _ = make_engine()
    seq_id = core.add(request())
    outputs = run(core)
    assert tokens(outputs) == expected()
    assert [output.position for output in outputs] == list(range(12))
    assert {output.seq_id for output in outputs} == {seq_id}
    assert [output.finish_reason for output in outputs] == [None] * 11 + [FinishReason.LENGTH]
    assert core.stats().num_free_blocks == 16


def test_the_timing_comes_with_the_first_token_alone(make_engine: MakeEngine) -> None:
    core, runner = make_engine(max_num_batched_tokens=4)
    core.add(request())
    timings = [output.timing for output in run(core)]
    assert timings[0] is not None
    # add, then schedule and update of three steps, each looking at the clock once; and the steps
    # that are planned ahead of the third one's end.
    num_ahead = runner.pipeline_depth - 1
    assert (timings[0].queue_s, timings[0].prefill_s) == (1.0, 5.0 + num_ahead)
    assert set(timings[1:]) == {None}


def test_eos_ends_the_answer_and_is_named(make_engine: MakeEngine) -> None:
    prompt = next((n, 1) for n in range(1, 50) if EOS in answer((n, 1), 40)[1:])
    core, _ = make_engine()
    core.add(SequenceRequest(prompt, SamplingParams(max_tokens=40), 0))
    outputs = run(core)
    assert tokens(outputs) == answer(prompt, 40)
    assert (outputs[-1].finish_reason, outputs[-1].stop_token_id) == (FinishReason.STOP, EOS)


def test_an_earlier_prompt_is_not_computed_again(make_engine: MakeEngine) -> None:
    core, _ = make_engine()
    core.add(request())
    run(core)
    core.add(request())
    assert core.step().num_prefill_tokens == 2
    outputs = run(core)
    totals = core.stats().totals
    assert (totals.prefix_cache_queries, totals.prefix_cache_hits) == (20, 8)
    assert tokens(outputs) == expected()[1:]


@pytest.mark.parametrize("prompt", [(), (50,), (-1,)])
def test_bad_prompts_are_refused_and_harm_nobody(
    make_engine: MakeEngine, prompt: tuple[int, ...]
) -> None:
    core, _ = make_engine()
    core.add(request())
    with pytest.raises(InvalidRequestError):
        core.add(request(prompt))
    assert tokens(run(core)) == expected()


def test_a_sequence_that_can_never_fit_is_refused_at_once(make_engine: MakeEngine) -> None:
    core, _ = make_engine(num_blocks=4)
    with pytest.raises(ContextLengthError, match="at most 16 of prompt and 17"):
        core.add(request(max_tokens=8))
    core.add(request(max_tokens=7))
    assert tokens(run(core)) == expected(max_tokens=7)


def test_a_full_queue_is_overloaded(make_engine: MakeEngine) -> None:
    core, _ = make_engine(max_num_queued_reqs=1, max_num_seqs=1)
    core.add(request())
    core.step()
    core.add(request())
    with pytest.raises(OverloadedError):
        core.add(request())


def test_an_aborted_sequence_frees_its_blocks(make_engine: MakeEngine) -> None:
    core, _ = make_engine()
    seq_id = core.add(request())
    core.step()
    core.abort(seq_id)
    core.abort(seq_id)
    settle(core)
    stats = core.stats()
    assert (stats.num_free_blocks, stats.num_running, core.has_work()) == (16, 0, False)
    assert stats.totals.aborted_sequences == 1


def test_a_failing_runner_breaks_the_engine_aloud_and_blocks_can_still_be_freed(
    make_engine: MakeEngine,
) -> None:
    core, runner = make_engine()
    seq_id = core.add(request())
    runner.fails = True
    with pytest.raises(EngineError, match="ValueError: no luck today"):
        core.step()
    runner.fails = False
    for call in (core.step, lambda: core.add(request()), lambda: core.reserve(request(), 0)):
        with pytest.raises(EngineError, match="no luck"):
            call()
    core.abort(seq_id)
    assert core.stats().num_free_blocks == 16


def test_the_prefill_budget_can_be_changed_between_steps(make_engine: MakeEngine) -> None:
    core, _ = make_engine()
    core.add(request())
    core.set_prefill_token_budget(3)
    assert core.step().num_prefill_tokens == 3
    with pytest.raises(ConfigError):
        core.set_prefill_token_budget(0)


def test_the_stats_tell_what_waits_and_what_runs(make_engine: MakeEngine) -> None:
    core, _ = make_engine(max_num_batched_tokens=4)
    core.add(request())
    core.add(request((7,) * 9))
    core.step()
    stats = core.stats()
    assert (stats.num_running, stats.num_waiting, stats.num_paused) == (1, 1, 0)
    assert stats.num_queued_prefill_tokens == 6 + 9
    assert (stats.num_free_blocks, stats.num_total_blocks) == (13, 16)


# ---------------------------------------------------------------- handover


def test_a_paused_sequence_goes_on_where_it_stopped(make_engine: MakeEngine) -> None:
    core, _ = make_engine()
    seq_id = core.add(request())
    assert core.pause(seq_id) is None
    first = tokens(list(core.step().outputs))
    paused = core.pause(seq_id)
    assert paused is not None
    assert (paused.num_computed_tokens, paused.output_token_ids) == (10, tuple(first))
    assert len(paused.block_ids) == 3
    assert core.pause(seq_id) == paused
    settle(core)
    assert not core.has_work()
    core.resume(seq_id)
    core.resume(seq_id)
    assert first + tokens(run(core)) == expected()
    assert core.stats().num_free_blocks == 13
    core.unpin(paused.block_ids * 2)
    assert core.stats().num_free_blocks == 16
    assert core.pause(seq_id) is None


def test_a_released_sequence_stays_in_the_prefix_cache(make_engine: MakeEngine) -> None:
    core, _ = make_engine()
    seq_id = core.add(request())
    core.step()
    paused = core.pause(seq_id)
    assert paused is not None
    core.release(seq_id)
    core.release(seq_id)
    settle(core)
    assert core.stats().num_free_blocks == 13
    core.unpin(paused.block_ids)
    assert core.stats().num_free_blocks == 16
    core.add(request())
    assert core.step().outputs[0].num_cached_tokens == 8


def test_a_sequence_moves_to_another_engine_and_its_text_does_not_change(
    make_engine: MakeEngine,
) -> None:
    source, source_runner = make_engine()
    target, target_runner = make_engine()
    reservation = target.reserve(request(), num_extra_tokens=3)
    assert reservation is not None
    assert (len(reservation.fresh_block_ids), reservation.num_cached_tokens) == (4, 0)
    seq_id = source.add(request())
    emitted = tokens([*source.step().outputs, *source.step().outputs])
    paused = source.pause(seq_id)
    assert paused is not None
    pairs = list(zip(paused.block_ids, reservation.block_ids, strict=False))
    move(source_runner, target_runner, pairs)
    target.adopt(request(output=tuple(emitted)), reservation, paused.num_computed_tokens)
    source.release(seq_id)
    source.unpin(paused.block_ids)
    settle(source)
    outputs = run(target)
    assert emitted + tokens(outputs) == expected()
    assert outputs[0].position == 2
    assert target.stats().num_free_blocks == source.stats().num_free_blocks == 16


def test_a_receiver_that_has_the_prefix_reserves_the_rest_alone(make_engine: MakeEngine) -> None:
    target, _ = make_engine()
    target.add(request())
    run(target)
    reservation = target.reserve(request(), num_extra_tokens=1)
    assert reservation is not None
    assert (len(reservation.cached_block_ids), len(reservation.fresh_block_ids)) == (2, 1)
    assert reservation.num_cached_tokens == 8
    first = expected()[0]
    target.adopt(request(output=(first,)), reservation, num_computed_tokens=0)
    assert target.step().num_prefill_tokens == 3
    assert tokens(run(target)) == expected()[2:]


def test_computed_tokens_are_cut_to_what_leaves_one_to_compute(make_engine: MakeEngine) -> None:
    target, runner = make_engine()
    reservation = target.reserve(request(), num_extra_tokens=0)
    assert reservation is not None
    for index, block_id in enumerate(reservation.block_ids):
        runner.kv[block_id][:] = [*PROMPT[index * 4 : index * 4 + 4], 49, 49][:4]
    target.adopt(request(), reservation, num_computed_tokens=99)
    assert target.step().num_decode_tokens == 1
    assert tokens(run(target)) == expected()[1:]


def test_an_adopted_prefix_is_found_by_later_prompts(make_engine: MakeEngine) -> None:
    source, source_runner = make_engine()
    target, target_runner = make_engine()
    reservation = target.reserve(request(), 1)
    assert reservation is not None
    seq_id = source.add(request())
    first = tokens(list(source.step().outputs))
    paused = source.pause(seq_id)
    assert paused is not None
    pairs = list(zip(paused.block_ids, reservation.block_ids, strict=False))
    move(source_runner, target_runner, pairs)
    adopted = target.adopt(request(output=tuple(first)), reservation, 10)
    target.abort(adopted)
    target.add(request())
    outputs = run(target)
    assert outputs[0].num_cached_tokens == 8
    assert tokens(outputs) == expected()


def test_a_reservation_leaves_running_sequences_a_block_to_grow_into(
    make_engine: MakeEngine,
) -> None:
    core, _ = make_engine(num_blocks=5)
    core.add(request((1, 2, 3), max_tokens=9))
    core.step()
    assert core.reserve(request((9,) * 13, max_tokens=3), 0) is None
    reservation = core.reserve(request((9,) * 12, max_tokens=3), 0)
    assert reservation is not None
    core.give_back(reservation.block_ids)
    assert core.stats().num_free_blocks == 4


def test_a_reservation_does_not_overtake_a_sequence_that_waits_for_room(
    make_engine: MakeEngine,
) -> None:
    core, _ = make_engine(num_blocks=5)
    core.add(request((1, 2, 3), max_tokens=2))
    core.step()
    core.add(request((4,) * 16, max_tokens=2))
    core.step()
    assert core.reserve(request((9,), max_tokens=2), 0) is None


def test_epochs_tell_reservations_of_the_same_blocks_apart(make_engine: MakeEngine) -> None:
    core, _ = make_engine(num_blocks=3)
    first = core.reserve(request(max_tokens=2), 0)
    assert first is not None
    core.give_back(first.block_ids)
    second = core.reserve(request(max_tokens=2), 0)
    assert second is not None
    before = dict(zip(first.fresh_block_ids, first.epochs, strict=True))
    after = dict(zip(second.fresh_block_ids, second.epochs, strict=True))
    assert before.keys() == after.keys()
    assert all(after[block_id] > before[block_id] for block_id in after)


def test_nothing_moves_while_reservations_hold_all_memory_and_all_goes_on_after(
    make_engine: MakeEngine,
) -> None:
    core, _ = make_engine(num_blocks=5)
    reservation = core.reserve(request((9,) * 12, max_tokens=3), 0)
    assert reservation is not None
    core.add(request(max_tokens=8))
    step = core.step()
    assert (step.outputs, step.num_prefill_tokens, step.num_decode_tokens) == ((), 0, 0)
    core.give_back(reservation.block_ids)
    assert tokens(run(core)) == expected(max_tokens=8)
