"""Two steps under way: what is planned ahead, and what becomes of it when plans change."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from legato.engine.batch import Continuation, ScheduledSequence, SequenceOutput, SequenceRequest
from legato.engine.core import EngineCore
from legato.engine.errors import EngineError
from legato.engine.sampling_params import SamplingParams
from legato.tests.engine.fake_runner import EOS, FakeRunner, answer, fake_engine, next_token

PROMPT = tuple(range(1, 11))


def request(prompt: tuple[int, ...] = PROMPT, max_tokens: int = 12) -> SequenceRequest:
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
    return SequenceRequest(prompt, params, 0)


def engine(num_blocks: int = 16, **changes: Any) -> tuple[EngineCore, FakeRunner]:
    return fake_engine(num_blocks, pipeline_depth=2, **changes)


def run(core: EngineCore) -> dict[int, list[int]]:
    """The tokens of each sequence, in the order in which they come out from now on."""
    tokens: dict[int, list[int]] = {}
    while core.has_work():
        for output in step(core):
            tokens.setdefault(output.seq_id, []).extend(output.token_ids)
    return tokens


def step(core: EngineCore) -> tuple[SequenceOutput, ...]:
    outputs = core.step().outputs
    core.check_integrity()
    return outputs


def parts(runner: FakeRunner, seq_id: int) -> list[ScheduledSequence]:
    """What was launched for one sequence."""
    sequences = [part for batch in runner.batches for part in batch.sequences]
    return [part for part in sequences if part.seq_id == seq_id]


# ---------------------------------------------------------------- planning ahead


def test_a_step_is_launched_before_the_one_ahead_is_waited_for() -> None:
    core, runner = engine()
    core.add(request())
    outputs = step(core)
    assert [output.token_ids for output in outputs] == [(answer(PROMPT, 1)[0],)]
    assert (len(runner.batches), core.num_steps_under_way) == (2, 1)


def test_the_next_token_is_planned_before_it_is_known() -> None:
    core, runner = engine()
    seq_id = core.add(request(max_tokens=3))
    assert run(core) == {seq_id: answer(PROMPT, 3, ignore_eos=True)}
    prompt, *ahead = parts(runner, seq_id)
    assert (prompt.token_ids, prompt.takes_sampled) == (PROMPT, False)
    assert [(part.token_ids, part.takes_sampled) for part in ahead] == [((), True)] * 2
    assert [part.start for part in ahead] == [10, 11]
    assert [part.sampling.position for part in ahead if part.sampling] == [1, 2]


def test_a_batch_that_goes_on_unchanged_is_planned_as_its_continuation() -> None:
    core, runner = engine()
    seq_id = core.add(request(max_tokens=9))
    run(core)
    first, *ahead = runner.batches
    assert first.continuation is None
    assert all(batch.continuation is not None for batch in ahead)
    tables = [part.block_table for part in parts(runner, seq_id)]
    has_grown = [old != new for old, new in pairwise(tables)]
    assert [batch.continuation == Continuation((0,)) for batch in ahead] == has_grown
    assert any(has_grown)


def test_a_batch_with_one_sequence_less_is_another_batch() -> None:
    core, runner = engine()
    core.add(request(max_tokens=8))
    core.add(request(max_tokens=5))
    run(core)
    sizes = [len(batch.sequences) for batch in runner.batches]
    assert runner.batches[sizes.index(1, sizes.index(2))].continuation is None
    assert runner.batches[-1].continuation is not None


def test_no_step_is_planned_beyond_the_longest_answer() -> None:
    core, runner = engine()
    seq_id = core.add(request(max_tokens=2))
    run(core)
    assert len(parts(runner, seq_id)) == 2


def test_chunks_of_a_prompt_are_planned_ahead_too() -> None:
    core, runner = engine(max_num_batched_tokens=4)
    seq_id = core.add(request(max_tokens=1))
    assert run(core) == {seq_id: answer(PROMPT, 1)}
    assert [(part.start, part.num_tokens) for part in parts(runner, seq_id)] == [
        (0, 4),
        (4, 4),
        (8, 2),
    ]


def test_a_ban_ends_with_min_tokens_though_the_last_of_them_is_not_known_yet() -> None:
    core, runner = engine()
    params = SamplingParams(temperature=0, max_tokens=3, min_tokens=1)
    seq_id = core.add(SequenceRequest(PROMPT, params, 0))
    run(core)
    banned = [part.sampling.banned_token_ids for part in parts(runner, seq_id) if part.sampling]
    assert banned[:2] == [(EOS,), ()]


def test_penalties_see_the_outputs_that_are_known() -> None:
    core, runner = engine()
    params = SamplingParams(max_tokens=4, ignore_eos=True, presence_penalty=1)
    seq_id = core.add(SequenceRequest(PROMPT, params, 0))
    tokens = run(core)[seq_id]
    given = [part.sampling.output_token_ids for part in parts(runner, seq_id) if part.sampling]
    assert given == [(), (), tuple(tokens[:1]), tuple(tokens[:2])]


def test_a_result_counts_the_tokens_of_the_step_that_it_is_of() -> None:
    core, _ = engine(max_num_batched_tokens=8)
    core.add(request(max_tokens=2))
    counts = []
    while core.has_work():
        result = core.step()
        counts.append((result.num_prefill_tokens, result.num_decode_tokens))
    assert counts == [(8, 0), (2, 0), (0, 1)]


# ---------------------------------------------------------------- plans that change


def test_an_answer_that_eos_ends_is_over_at_once_and_its_extra_token_is_dropped() -> None:
    prompt = next((n, 1) for n in range(1, 50) if EOS in answer((n, 1), 40)[1:])
    core, runner = engine()
    seq_id = core.add(SequenceRequest(prompt, SamplingParams(max_tokens=40), 0))
    tokens = answer(prompt, 40)
    for _ in tokens:
        (output,) = step(core)
    assert output.finish_reason is not None
    assert core.stats().num_running == 0
    assert len(parts(runner, seq_id)) == len(tokens) + 1
    assert step(core) == ()
    assert not core.has_work()
    assert core.stats().totals.generation_tokens == len(tokens)


def test_blocks_of_a_sequence_that_left_are_kept_until_the_step_with_it_is_collected() -> None:
    core, runner = engine(num_blocks=4)
    seq_id = core.add(request((1, 2, 3, 4, 5), max_tokens=6))
    step(core)
    core.abort(seq_id)
    assert core.stats().num_free_blocks == 2
    assert core.reserve(request((9,) * 12, max_tokens=2), 0) is None
    reservation = core.reserve(request((9,) * 8, max_tokens=2), 0)
    assert reservation is not None
    assert not runner.blocks_under_way() & {*reservation.fresh_block_ids}
    assert step(core) == ()
    assert core.stats().num_free_blocks == 2
    core.give_back(reservation.block_ids)
    assert core.stats().num_free_blocks == 4


def test_a_paused_sequence_loses_the_token_under_way_and_samples_it_again() -> None:
    core, runner = engine()
    seq_id = core.add(request())
    tokens = [*step(core)[0].token_ids, *step(core)[0].token_ids]
    paused = core.pause(seq_id)
    assert paused is not None
    assert paused.num_computed_tokens == 11
    assert paused.output_token_ids == tuple(tokens)
    core.resume(seq_id)
    core.unpin(paused.block_ids)
    assert tokens + run(core)[seq_id] == answer(PROMPT, 12, ignore_eos=True)
    again = [(part.start, part.takes_sampled) for part in parts(runner, seq_id)][2:4]
    assert again == [(11, True), (11, False)]


def test_a_released_sequence_keeps_its_blocks_from_others_while_it_is_under_way() -> None:
    core, runner = engine(num_blocks=4)
    seq_id = core.add(request((1, 2, 3, 4, 5), max_tokens=6))
    step(core)
    paused = core.pause(seq_id)
    assert paused is not None
    core.release(seq_id)
    core.unpin(paused.block_ids)
    assert core.stats().num_free_blocks == 2
    assert {*paused.block_ids} <= runner.blocks_under_way()
    step(core)
    assert core.stats().num_free_blocks == 4


def test_a_preempted_sequence_samples_again_what_was_under_way() -> None:
    core, _ = engine(num_blocks=3)
    seqs = {core.add(request((n, 2, 3), max_tokens=8)): (n, 2, 3) for n in (1, 2)}
    assert run(core) == {s: answer(prompt, 8, ignore_eos=True) for s, prompt in seqs.items()}
    stats = core.stats()
    assert stats.totals.preemptions > 0
    assert stats.num_free_blocks == 3


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("fails_at", ["launch", "wait"])
def test_a_failed_step_breaks_the_engine_whatever_is_under_way(fails_at: str) -> None:
    core, runner = engine()
    seq_id = core.add(request())
    step(core)
    if fails_at == "launch":
        runner.fails = True
    else:
        runner.result_error = ValueError("no luck today")
    with pytest.raises(EngineError, match="ValueError: no luck today"):
        core.step()
    with pytest.raises(EngineError, match="no luck"):
        core.step()
    core.abort(seq_id)
    core.check_integrity()
    assert not core.has_work()
    assert core.stats().num_free_blocks == 16


def test_an_interrupted_wait_loses_no_token() -> None:
    core, runner = engine()
    seq_id = core.add(request())
    tokens = list(step(core)[0].token_ids)
    runner.result_error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        core.step()
    core.check_integrity()
    assert tokens + run(core)[seq_id] == answer(PROMPT, 12, ignore_eos=True)


def test_a_sequence_that_comes_from_elsewhere_joins_while_a_step_is_under_way() -> None:
    core, runner = engine()
    core.add(request((30, 31)))
    reservation = core.reserve(request(), 4)
    assert reservation is not None
    step(core)
    for index, block_id in enumerate(reservation.block_ids[:3]):
        runner.kv[block_id][:] = [*PROMPT[index * 4 : index * 4 + 4], 49, 49][:4]
    first = next_token(PROMPT)
    adopted = core.adopt(replace(request(), output_token_ids=(first,)), reservation, 10)
    assert [first, *run(core)[adopted]] == answer(PROMPT, 12, ignore_eos=True)
    assert core.stats().num_free_blocks == 16
