"""Decides which sequences compute how many tokens in the next step.

    schedule -> PlannedStep -> launched ... under way ... -> update

    add ---> waiting --admit--> running --update--> finished
                ^                |   ^
                +----preempt-----+   +--- adopt, resume

"Computed tokens catch up with known tokens": the scheduler knows no prefill and no decode, only
sequences that need one token and sequences that need more. It plans on top of what the steps under
way will have computed and sampled. In each step
  1. running sequences get the blocks that their tokens need, best rank first; where memory is
     short, the worst rank is preempted (its blocks go, its tokens stay and are recomputed) - unless
     steps under way will bring blocks back: then who lacks one sits out until they are collected;
  2. sequences that need one token are scheduled, then chunks of those that need more;
  3. waiting sequences are admitted while budget, sequence slots and blocks last.

Nobody starves: ranks are fixed (see `Sequence.rank`), so every sequence becomes the best-ranked
one in the end. The best-ranked running sequence is never preempted, and the best-ranked waiting
one is never overtaken: where it does not fit, neither later ones nor reservations get the blocks.
No step dead-locks: a request that does not fit the empty pool is refused before it comes here, and
what is held outside the running sequences (reserved, paused, pinned) is only waited for - a
sequence that can preempt nobody keeps its blocks and sits the step out.

A sequence may be paused, preempted or removed at any time. What steps under way compute for it is
dropped then: computing it again gives the same, since sampling is a function of seed and position.

The scheduler holds no tensor, and runs in its caller's thread.
"""

from legato.engine.batch import (
    RunResult,
    SampledToken,
    ScheduledBatch,
    SequenceOutput,
)
from legato.engine.block_manager import BlockManager
from legato.engine.errors import ConfigError
from legato.engine.limits import EngineLimits
from legato.engine.sequence import Sequence, SequenceStatus
from legato.engine.sequence_queue import SequenceQueue
from legato.engine.stats import EngineTotals
from legato.engine.step_plan import PlannedStep, StepPlan
from legato.engine.steps_under_way import StepsUnderWay


class Scheduler:
    """Owns all sequences of an engine, and their blocks."""

    def __init__(self, limits: EngineLimits, blocks: BlockManager) -> None:
        self.totals = EngineTotals()
        self._blocks = blocks
        self._steps = StepsUnderWay(blocks.pool)
        self._max_num_batched_tokens = limits.max_num_batched_tokens
        # With more sequences than tokens in a step, one-token sequences could fill every step.
        self._max_num_seqs = min(limits.max_num_seqs, limits.max_num_batched_tokens)
        self._prefill_token_budget = limits.max_num_batched_tokens
        self._sequences: dict[int, Sequence] = {}
        self._waiting = SequenceQueue()
        self._running = SequenceQueue()
        self._last_batch: ScheduledBatch | None = None
        self._is_blocked = False  # the first waiting sequence lacks blocks or a slot

    # ------------------------------------------------------------ what there is

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_paused(self) -> int:
        return len(self._sequences) - len(self._waiting) - len(self._running)

    @property
    def num_queued_prefill_tokens(self) -> int:
        waiting = sum(seq.num_uncomputed_tokens for seq in self._waiting)
        running = (seq.num_uncomputed_tokens for seq in self._running)
        return waiting + sum(num_tokens for num_tokens in running if num_tokens > 1)

    @property
    def can_reserve(self) -> bool:
        """Whether a sequence from elsewhere would overtake nobody who waits for room here."""
        is_blocked = self._is_blocked and len(self._waiting) > 0
        return not is_blocked and len(self._running) < self._max_num_seqs

    @property
    def prefill_token_budget(self) -> int:
        """Tokens of a step for sequences that need more than one: the weight of the role."""
        return self._prefill_token_budget

    @prefill_token_budget.setter
    def prefill_token_budget(self, num_tokens: int) -> None:
        if num_tokens < 1:
            raise ConfigError(f"the prefill token budget must be at least 1, not {num_tokens}")
        self._prefill_token_budget = num_tokens

    def get(self, seq_id: int) -> Sequence | None:
        return self._sequences.get(seq_id)

    # ------------------------------------------------------------ coming and going

    def add(self, seq: Sequence) -> None:
        """Queues a new sequence."""
        self._sequences[seq.seq_id] = seq
        self._waiting.add(seq)

    def adopt(self, seq: Sequence) -> None:
        """Takes over a sequence that has its blocks already; it takes part from the next step."""
        self._sequences[seq.seq_id] = seq
        self._run(seq)
        self._count_start(seq)
        self._blocks.publish(seq)

    def remove(self, seq: Sequence) -> None:
        """Forgets a sequence in any state; its blocks are free once no step writes them."""
        self._leave_queue(seq)
        self._free_blocks(seq)
        seq.status = SequenceStatus.FINISHED
        del self._sequences[seq.seq_id]

    def pause(self, seq: Sequence) -> None:
        """Takes a running sequence out of the steps; its blocks stay."""
        self._running.remove(seq)
        seq.drop_steps(self._steps.next_step)
        seq.status = SequenceStatus.PAUSED

    def resume(self, seq: Sequence) -> None:
        """Puts a paused sequence back into the steps."""
        self._run(seq)

    def _run(self, seq: Sequence) -> None:
        seq.status = SequenceStatus.RUNNING
        self._running.add(seq)

    def _leave_queue(self, seq: Sequence) -> None:
        if seq.status is SequenceStatus.WAITING:
            self._waiting.remove(seq)
        elif seq.status is SequenceStatus.RUNNING:
            self._running.remove(seq)

    def _free_blocks(self, seq: Sequence) -> None:
        self._steps.release_after(seq.last_step, self._blocks.take_back(seq))
        seq.drop_steps(self._steps.next_step)

    # ------------------------------------------------------------ schedule

    def schedule(self, now_s: float) -> PlannedStep:
        """Plans the next step; blocks for it are allocated when this returns."""
        num_preempted = self.totals.preemptions
        ready, is_short = self._grow_running()
        plan = StepPlan(self._max_num_batched_tokens, self._prefill_token_budget)
        candidates = ready[: self._max_num_seqs]
        for seq, num_needed in candidates:
            if num_needed == 1:
                plan.add(seq, num_needed, now_s)
        for seq, num_needed in candidates:
            if num_needed > 1:
                plan.add(seq, num_needed, now_s)
        if is_short or self.totals.preemptions > num_preempted:
            self._is_blocked = True
        else:
            self._is_blocked = not self._admit(plan, now_s)
        return plan.finish(self._last_batch)

    def _grow_running(self) -> tuple[list[tuple[Sequence, int]], bool]:
        """Who can go on now, best rank first, with the tokens needed; whether one lacks blocks."""
        ready = []
        is_short = False
        for seq in tuple(self._running):
            num_needed = seq.num_unscheduled_tokens
            if num_needed == 0 or seq.status is not SequenceStatus.RUNNING:
                continue
            if self._blocks.has_room(seq) or (not is_short and self._make_room(seq)):
                ready.append((seq, num_needed))
            else:
                is_short = True  # worse ranks must not take the blocks that this one waits for
        return ready, is_short

    def _make_room(self, seq: Sequence) -> bool:
        while not self._blocks.grow(seq):
            victim = self._running.last
            if victim is seq or self._are_blocks_coming_back():
                return False
            self._preempt(victim)
        return True

    def _are_blocks_coming_back(self) -> bool:
        return self._steps.keeps_blocks or any(seq.is_ending for seq in self._running)

    def _preempt(self, seq: Sequence) -> None:
        self._running.remove(seq)
        self._free_blocks(seq)
        seq.status = SequenceStatus.WAITING
        self._waiting.add(seq)
        self.totals.preemptions += 1

    def _admit(self, plan: StepPlan, now_s: float) -> bool:
        """Starts waiting sequences; False if the first of those left lacks blocks or a slot."""
        while len(self._waiting) > 0 and plan.has_prefill_room:
            seq = self._waiting.first
            # One spare block for each running sequence, or they would be preempted soon after.
            if len(self._running) >= self._max_num_seqs or not self._blocks.claim(
                seq, len(seq.token_ids), len(self._running)
            ):
                return False
            self._waiting.remove(seq)
            self._run(seq)
            if seq.first_scheduled_s is None:
                self._count_start(seq)
            plan.add(seq, seq.num_unscheduled_tokens, now_s)
        return True

    def _count_start(self, seq: Sequence) -> None:
        self.totals.prompt_tokens += seq.num_prompt_tokens
        self.totals.prefix_cache_queries += seq.num_prompt_tokens
        self.totals.prefix_cache_hits += seq.num_cached_tokens or 0

    # ------------------------------------------------------------ launched, update

    def launched(self, step: PlannedStep) -> None:
        """The planned step is under way: the next one is planned on top of it."""
        number = self._steps.launch()
        self._last_batch = step.batch
        for part in step.batch.sequences:
            self._sequences[part.seq_id].launched(number, part)

    def update(
        self, step: PlannedStep, result: RunResult, now_s: float
    ) -> tuple[SequenceOutput, ...]:
        """Enters what the oldest step under way computed, but for sequences that have left it.

        Finished sequences are gone when this returns.
        """
        outputs = []
        number = self._steps.collect()
        sampled = iter(result.sampled)
        for part in step.batch.sequences:
            token = next(sampled) if part.sampling is not None else None
            seq = self._sequences.get(part.seq_id)
            if seq is None or number < seq.first_valid_step:
                continue
            seq.collected(part)
            if step.batch.needs_hidden_rows:
                seq.collected_prompt(part, result)
            self._blocks.publish(seq)
            if token is not None:
                outputs.append(self._append(seq, token, now_s))
        self.totals.steps += 1
        self.totals.prefill_tokens += step.num_prefill_tokens
        self.totals.generation_tokens += len(outputs)
        return tuple(outputs)

    def _append(self, seq: Sequence, sampled: SampledToken, now_s: float) -> SequenceOutput:
        position, is_first = seq.num_output_tokens, seq.timing is None
        scores, pool = seq.scores, seq.pool
        seq.forget_prompt()
        finish_reason = seq.append(sampled.token_id, now_s)
        is_stopped = finish_reason is not None and sampled.token_id in seq.stop_ids
        if finish_reason is not None:
            self.remove(seq)
            self.totals.finished_sequences += 1
        return SequenceOutput(
            seq_id=seq.seq_id,
            position=position,
            token_ids=(sampled.token_id,),
            logprobs=() if sampled.logprobs is None else (sampled.logprobs,),
            finish_reason=finish_reason,
            stop_token_id=sampled.token_id if is_stopped else None,
            num_cached_tokens=seq.num_cached_tokens or 0,
            timing=seq.timing if is_first else None,
            prompt_logprobs=() if scores is None else scores.known,
            embedding=b"" if pool is None else pool.embedding,
        )

    def drop_steps(self) -> None:
        """No step under way will be collected; what they were to compute is computed anew."""
        self._last_batch = None
        while self._steps.num_under_way > 0:
            self._steps.collect()
        for seq in self._sequences.values():
            seq.drop_steps(self._steps.next_step)

    def check_integrity(self) -> None:
        """Checks the sequences against their blocks; slow, for tests and idle moments.

        Raises:
            AssertionError: the state contradicts itself.
        """
        queued = [*self._waiting, *self._running]
        assert len({seq.seq_id for seq in queued}) == len(queued)
        for seq in self._sequences.values():
            is_queued = seq.status is not SequenceStatus.PAUSED
            assert is_queued == (seq in queued)
            if seq.status is SequenceStatus.WAITING:
                assert not seq.block_table and seq.num_computed_tokens == 0
            assert seq.num_computed_tokens < len(seq.token_ids)
            num_scheduled = seq.num_computed_tokens + seq.num_tokens_under_way
            assert num_scheduled <= len(seq.block_table) * self._blocks.block_size
            assert num_scheduled < len(seq.token_ids) + seq.num_pending_tokens
            assert seq.num_pending_tokens <= seq.num_tokens_under_way
            if seq.num_tokens_under_way > 0:
                assert seq.status is SequenceStatus.RUNNING
                assert self._steps.is_under_way(seq.last_step)
        self._blocks.pool.check_integrity()
