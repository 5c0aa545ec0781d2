"""Decides which sequences compute how many tokens in the next step.

    add ---> waiting --admit--> running --update--> finished
                ^                |   ^
                +----preempt-----+   +--- adopt, resume

"Computed tokens catch up with known tokens": the scheduler knows no prefill and no decode, only
sequences that need one token and sequences that need more. In each step
  1. running sequences get the blocks that their known tokens need, best rank first; where memory
     is short, the worst rank is preempted (its blocks go, its tokens stay and are recomputed);
  2. sequences that need one token are scheduled, then chunks of those that need more;
  3. waiting sequences are admitted while budget, sequence slots and blocks last.

Nobody starves: ranks are fixed (see `Sequence.rank`), so every sequence becomes the best-ranked
one in the end. The best-ranked running sequence is never preempted, and the best-ranked waiting
one is never overtaken: where it does not fit, neither later ones nor reservations get the blocks.
No step dead-locks: a request that does not fit the empty pool is refused before it comes here, and
what is held outside the running sequences (reserved, paused, pinned) is only waited for - a
sequence that can preempt nobody keeps its blocks and sits the step out.

The scheduler holds no tensor, and runs in its caller's thread.
"""

from legato.engine.batch import (
    FinishReason,
    RunResult,
    SampledToken,
    SequenceOutput,
)
from legato.engine.block_manager import BlockManager
from legato.engine.errors import ConfigError
from legato.engine.limits import EngineLimits
from legato.engine.sequence import Sequence, SequenceStatus
from legato.engine.sequence_queue import SequenceQueue
from legato.engine.stats import EngineTotals
from legato.engine.step_plan import PlannedStep, StepPlan


class Scheduler:
    """Owns all sequences of an engine, and their blocks."""

    def __init__(self, limits: EngineLimits, blocks: BlockManager) -> None:
        self.totals = EngineTotals()
        self._blocks = blocks
        self._max_num_batched_tokens = limits.max_num_batched_tokens
        # With more sequences than tokens in a step, one-token sequences could fill every step.
        self._max_num_seqs = min(limits.max_num_seqs, limits.max_num_batched_tokens)
        self._prefill_token_budget = limits.max_num_batched_tokens
        self._sequences: dict[int, Sequence] = {}
        self._waiting = SequenceQueue()
        self._running = SequenceQueue()
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
        """Forgets a sequence in any state and frees its blocks at once."""
        self._leave_queue(seq)
        self._blocks.free(seq)
        seq.status = SequenceStatus.FINISHED
        del self._sequences[seq.seq_id]

    def pause(self, seq: Sequence) -> None:
        """Takes a running sequence out of the steps; its blocks stay."""
        self._running.remove(seq)
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

    # ------------------------------------------------------------ schedule

    def schedule(self, now_s: float) -> PlannedStep:
        """Plans the next step; blocks for it are allocated when this returns."""
        num_preempted = self.totals.preemptions
        ready = self._grow_running()
        num_preempted = self.totals.preemptions - num_preempted
        plan = StepPlan(self._max_num_batched_tokens, self._prefill_token_budget)
        candidates = ready[: self._max_num_seqs]
        for seq in candidates:
            if seq.num_uncomputed_tokens == 1:
                plan.add(seq, now_s)
        for seq in candidates:
            if seq.num_uncomputed_tokens > 1:
                plan.add(seq, now_s)
        if num_preempted == 0 and len(ready) == len(self._running):
            self._is_blocked = not self._admit(plan, now_s)
        else:
            self._is_blocked = True
        return plan.finish(num_preempted)

    def _grow_running(self) -> list[Sequence]:
        """The running sequences that have blocks for all known tokens, best rank first."""
        ready = []
        for seq in tuple(self._running):
            if seq.status is SequenceStatus.RUNNING and self._make_room(seq):
                ready.append(seq)
        return ready

    def _make_room(self, seq: Sequence) -> bool:
        while not self._blocks.grow(seq):
            victim = self._running.last
            if victim is seq:
                return False
            self._preempt(victim)
        return True

    def _preempt(self, seq: Sequence) -> None:
        self._running.remove(seq)
        self._blocks.free(seq)
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
            plan.add(seq, now_s)
        return True

    def _count_start(self, seq: Sequence) -> None:
        self.totals.prompt_tokens += seq.num_prompt_tokens
        self.totals.prefix_cache_queries += seq.num_prompt_tokens
        self.totals.prefix_cache_hits += seq.num_cached_tokens or 0

    # ------------------------------------------------------------ update

    def update(
        self, step: PlannedStep, result: RunResult, now_s: float
    ) -> tuple[SequenceOutput, ...]:
        """Enters what a step computed; finished sequences are gone when this returns."""
        outputs = []
        sampled = iter(result.sampled)
        for part in step.batch.sequences:
            seq = self._sequences[part.seq_id]
            seq.num_computed_tokens += len(part.token_ids)
            self._blocks.publish(seq)
            if part.sampling is not None:
                outputs.append(self._append(seq, next(sampled), now_s))
        self.totals.steps += 1
        self.totals.prefill_tokens += step.num_prefill_tokens
        self.totals.generation_tokens += len(outputs)
        return tuple(outputs)

    def _append(self, seq: Sequence, sampled: SampledToken, now_s: float) -> SequenceOutput:
        position, is_first = seq.num_output_tokens, seq.timing is None
        finish_reason = seq.append(sampled.token_id, now_s)
        if finish_reason is not None:
            self.remove(seq)
            self.totals.finished_sequences += 1
        return SequenceOutput(
            seq_id=seq.seq_id,
            position=position,
            token_ids=(sampled.token_id,),
            logprobs=() if sampled.logprobs is None else (sampled.logprobs,),
            finish_reason=finish_reason,
            stop_token_id=sampled.token_id if finish_reason is FinishReason.STOP else None,
            num_cached_tokens=seq.num_cached_tokens or 0,
            timing=seq.timing if is_first else None,
        )

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
            assert seq.num_computed_tokens <= len(seq.block_table) * self._blocks.block_size
        self._blocks.pool.check_integrity()
