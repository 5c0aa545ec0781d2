"""The scheduler's decisions, step by step, with every sampled token being 0."""

import pytest

from legato.engine.batch import RunResult, SampledToken, SequenceRequest
from legato.engine.block_manager import BlockManager
from legato.engine.block_pool import BlockPool
from legato.engine.errors import ConfigError
from legato.engine.limits import EngineLimits
from legato.engine.sampling_params import SamplingParams
from legato.engine.scheduler import Scheduler
from legato.engine.sequence import PRIORITY_LEVEL_S, Sequence, SequenceStatus
from legato.engine.step_plan import PlannedStep


class Bench:
    """A scheduler with its pool, and short ways to feed it."""

    def __init__(self, num_blocks: int = 100, tokens: int = 8, seqs: int = 8) -> None:
        self.limits = EngineLimits(
            num_blocks=num_blocks,
            block_size=4,
            vocab_size=1000,
            max_model_len=64,
            max_num_batched_tokens=tokens,
            max_num_seqs=seqs,
        )
        self.pool = BlockPool(num_blocks)
        blocks = BlockManager(self.pool, 4, enable_prefix_caching=True)
        self.scheduler = Scheduler(self.limits, blocks)
        self.num_added = 0

    def add(
        self, num_prompt: int, max_tokens: int | None = None, priority: int = 0, now_s: float = 0.0
    ) -> Sequence:
        self.num_added += 1
        prompt = tuple(range(self.num_added * 64, self.num_added * 64 + num_prompt))
        params = SamplingParams(max_tokens=max_tokens)
        request = SequenceRequest(prompt, params, 0, priority=priority)
        seq = Sequence.of(self.num_added, request, self.limits, now_s)
        self.scheduler.add(seq)
        return seq

    def step(self) -> dict[int, int]:
        """Runs one step; returns the number of tokens that each sequence got."""
        return sizes(self.planned_step())

    def planned_step(self) -> PlannedStep:
        step = self.launch()
        self.collect(step)
        return step

    def plan(self) -> dict[int, int]:
        """What a step would be; it is not launched."""
        return sizes(self.scheduler.schedule(now_s=0.0))

    def launch(self) -> PlannedStep:
        """Plans a step that is under way when this returns."""
        step = self.scheduler.schedule(now_s=0.0)
        self.scheduler.launched(step)
        self.scheduler.check_integrity()
        return step

    def collect(self, step: PlannedStep) -> None:
        num_sampled = sum(part.sampling is not None for part in step.batch.sequences)
        result = RunResult((SampledToken(0, None),) * num_sampled)
        self.scheduler.update(step, result, now_s=0.0)
        self.scheduler.check_integrity()


def sizes(step: PlannedStep) -> dict[int, int]:
    return {part.seq_id: part.num_tokens for part in step.batch.sequences}


def test_a_long_prompt_is_computed_in_chunks_beside_running_sequences() -> None:
    bench = Bench(tokens=8)
    bench.add(3)
    assert bench.step() == {1: 3}
    bench.add(16)
    assert bench.step() == {1: 1, 2: 7}
    assert bench.step() == {1: 1, 2: 7}
    assert bench.step() == {1: 1, 2: 2}
    assert bench.step() == {1: 1, 2: 1}


def test_the_prefill_budget_holds_from_the_next_step_on() -> None:
    bench = Bench(tokens=8)
    bench.add(20)
    assert bench.step() == {1: 8}
    bench.scheduler.prefill_token_budget = 2
    assert bench.step() == {1: 2}
    with pytest.raises(ConfigError):
        bench.scheduler.prefill_token_budget = 0


def test_leftover_budget_goes_to_the_next_waiting_sequence() -> None:
    bench = Bench(tokens=8)
    bench.add(5)
    bench.add(5)
    assert bench.step() == {1: 5, 2: 3}


def test_no_more_sequences_run_than_max_num_seqs() -> None:
    bench = Bench(seqs=2)
    for _ in range(3):
        bench.add(2, max_tokens=2)
    assert bench.step() == {1: 2, 2: 2}
    assert bench.step() == {1: 1, 2: 1}
    assert bench.step() == {3: 2}


def test_a_lower_priority_number_is_admitted_first() -> None:
    bench = Bench(seqs=1)
    bench.add(2, priority=1)
    bench.add(2, priority=0)
    assert bench.step() == {2: 2}


def test_a_low_priority_is_overtaken_for_a_limited_time_only() -> None:
    bench = Bench(seqs=1)
    bench.add(2, priority=1, now_s=0.0)
    bench.add(2, priority=0, now_s=PRIORITY_LEVEL_S + 1)
    assert bench.step() == {1: 2}


def test_where_memory_is_short_the_lowest_priority_gives_way() -> None:
    bench = Bench(num_blocks=3, tokens=16)
    bench.add(3, max_tokens=8, priority=1)
    bench.add(3, max_tokens=8, priority=0)
    while bench.scheduler.totals.preemptions == 0:
        bench.step()
    assert bench.plan() == {2: 1}
    assert bench.scheduler.num_waiting == 1


def test_a_step_counts_its_prefill_and_decode_tokens() -> None:
    bench = Bench()
    bench.add(3)
    bench.step()
    bench.add(4)
    step = bench.planned_step()
    assert (step.num_prefill_tokens, step.num_decode_tokens) == (4, 1)


def test_the_worst_rank_is_preempted_and_its_outputs_are_recomputed() -> None:
    bench = Bench(num_blocks=3, tokens=16)
    first, victim = bench.add(3, max_tokens=8), bench.add(3, max_tokens=6)
    assert bench.step() == {1: 3, 2: 3}
    assert bench.step() == {1: 1, 2: 1}
    # The third block goes to the first; the second keeps its own and sits out.
    while len(first.token_ids) < 9:
        assert bench.step() == {1: 1}
    assert bench.scheduler.num_running == 2
    step = bench.planned_step()
    assert sizes(step) == {1: 1}
    assert bench.scheduler.totals.preemptions == 1
    assert bench.scheduler.num_waiting == 1
    assert victim.num_output_tokens == 2
    while first.status is SequenceStatus.RUNNING:
        assert bench.step() == {1: 1}
    assert bench.step() == {2: 5}
    assert victim.num_output_tokens == 3


def test_a_sequence_that_does_not_fit_now_is_not_overtaken_by_a_smaller_one() -> None:
    bench = Bench(num_blocks=5, tokens=16)
    bench.add(8, max_tokens=3)
    bench.step()
    bench.add(14, max_tokens=2)
    bench.add(2)
    assert bench.step() == {1: 1}
    assert not bench.scheduler.can_reserve
    assert bench.step() == {1: 1}
    assert bench.step() == {2: 14}


def test_a_sequence_sits_out_while_others_than_sequences_hold_all_blocks() -> None:
    bench = Bench(num_blocks=2)
    seq = bench.add(4)
    bench.step()
    held = bench.pool.allocate(1)
    assert bench.step() == {}
    assert seq.status is SequenceStatus.RUNNING
    bench.pool.release(held)
    assert bench.step() == {1: 1}


def test_a_paused_sequence_keeps_its_blocks_and_gets_no_tokens() -> None:
    bench = Bench()
    seq = bench.add(5)
    bench.step()
    bench.scheduler.pause(seq)
    assert bench.step() == {}
    assert bench.scheduler.num_paused == 1
    assert bench.pool.num_free_blocks == 98
    bench.scheduler.resume(seq)
    assert bench.step() == {1: 1}


def test_a_prompt_beside_endless_adoptions_still_gets_its_tokens() -> None:
    bench = Bench(tokens=2, seqs=8)
    bench.add(6)
    for _ in range(3):
        seq = bench.add(1)
        bench.scheduler.remove(seq)
        adopted = Sequence.of(100 + bench.num_added, seq.request, bench.limits, now_s=1.0)
        adopted.block_table = bench.pool.allocate(1)
        bench.scheduler.adopt(adopted)
    while 1 not in (got := bench.step()):
        assert got
    assert got[1] >= 1


def test_a_removed_sequence_gives_back_all_blocks_in_any_state() -> None:
    bench = Bench(tokens=4)
    waiting, running, paused = bench.add(4, now_s=9.0), bench.add(4), bench.add(4)
    bench.step()
    bench.step()
    bench.scheduler.pause(paused)
    for seq in (waiting, running, paused):
        bench.scheduler.remove(seq)
    assert bench.pool.num_free_blocks == 100
    assert bench.step() == {}


# ---------------------------------------------------------------- steps under way


def test_nobody_is_preempted_while_a_last_token_is_under_way() -> None:
    bench = Bench(num_blocks=4, tokens=16)
    bench.add(7)
    bench.add(3, max_tokens=2)
    first, second = bench.launch(), bench.launch()
    bench.pool.allocate(1)
    bench.collect(first)
    # The first sequence needs a third block, and the second will leave one.
    assert bench.plan() == {}
    bench.collect(second)
    (part,) = bench.launch().batch.sequences
    assert (part.seq_id, part.start, part.takes_sampled) == (1, 8, False)
    assert bench.scheduler.totals.preemptions == 0


def test_nobody_else_is_preempted_until_the_blocks_of_the_first_victim_are_back() -> None:
    bench = Bench(num_blocks=8, tokens=32)
    for _ in range(3):
        bench.add(4)
    step = bench.launch()
    bench.pool.allocate(5)
    for _ in range(2):
        assert bench.plan() == {}
        assert bench.scheduler.num_waiting == 1
    bench.collect(step)
    assert bench.plan() == {1: 1}
    assert bench.scheduler.totals.preemptions == 1


def test_a_worse_rank_takes_no_block_while_a_better_one_waits_for_blocks() -> None:
    bench = Bench(num_blocks=8, tokens=32)
    other, leaver = bench.add(4), bench.add(4)
    step = bench.launch()
    held = bench.pool.allocate(6)
    request = SequenceRequest(tuple(range(12)), SamplingParams(), 0)
    first = Sequence.of(100, request, bench.limits, now_s=-1.0)
    first.block_table = held[:1]
    bench.scheduler.adopt(first)
    bench.scheduler.remove(leaver)
    bench.pool.release(held[1:2])
    assert bench.plan() == {}
    assert len(other.block_table) == 1
    bench.collect(step)
    assert bench.plan() == {100: 12}


def test_dropped_steps_are_planned_again() -> None:
    bench = Bench(tokens=8)
    seq = bench.add(10)
    leaver = bench.add(2)
    assert [sizes(bench.launch()) for _ in range(2)] == [{1: 8}, {1: 2, 2: 2}]
    bench.scheduler.remove(leaver)
    assert bench.pool.num_free_blocks == 96
    bench.scheduler.drop_steps()
    bench.scheduler.check_integrity()
    assert bench.pool.num_free_blocks == 97
    assert [bench.step() for _ in range(2)] == [{1: 8}, {1: 2}]
    assert seq.num_output_tokens == 1
