"""The token budgets of one step, and the sequences that have got their share of them."""

from dataclasses import dataclass

from legato.engine.batch import Continuation, ScheduledBatch, ScheduledSequence
from legato.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """What the next step computes. An empty batch: nothing can be computed now."""

    batch: ScheduledBatch
    num_prefill_tokens: int  # of sequences that need more than one token
    num_decode_tokens: int


class StepPlan:
    """Fills one step, first come first served.

    `token_budget` is for everybody; of it, at most `prefill_token_budget` goes to sequences that
    need more than one token.
    """

    def __init__(self, token_budget: int, prefill_token_budget: int) -> None:
        self._tokens_left = token_budget
        self._prefill_tokens_left = min(token_budget, prefill_token_budget)
        self._parts: list[ScheduledSequence] = []
        self._num_prefill_tokens = 0
        self._num_decode_tokens = 0
        self._needs_hidden_rows = False

    @property
    def has_prefill_room(self) -> bool:
        return min(self._tokens_left, self._prefill_tokens_left) > 0

    def add(self, seq: Sequence, num_needed: int, now_s: float) -> None:
        """Schedules as many of the sequence's `num_needed` tokens as the budgets allow, or none."""
        is_prefill = num_needed > 1
        num_tokens = min(num_needed, self._tokens_left)
        if is_prefill:
            num_tokens = min(num_tokens, self._prefill_tokens_left)
        if num_tokens == 0:
            return
        self._tokens_left -= num_tokens
        if is_prefill:
            self._prefill_tokens_left -= num_tokens
            self._num_prefill_tokens += num_tokens
        else:
            self._num_decode_tokens += num_tokens
        if seq.first_scheduled_s is None:
            seq.first_scheduled_s = now_s
        part = seq.part_of_step(num_tokens)
        if part.scored is not None or part.pooled is not None:
            self._needs_hidden_rows = True
        self._parts.append(part)

    def finish(self, previous: ScheduledBatch | None = None) -> PlannedStep:
        """The step; `previous` is the batch launched last, if what it samples counts."""
        parts = tuple(self._parts)
        return PlannedStep(
            batch=ScheduledBatch(parts, _continuation(parts, previous), self._needs_hidden_rows),
            num_prefill_tokens=self._num_prefill_tokens,
            num_decode_tokens=self._num_decode_tokens,
        )


def _continuation(
    parts: tuple[ScheduledSequence, ...], previous: ScheduledBatch | None
) -> Continuation | None:
    if previous is None or len(parts) != len(previous.sequences):
        return None
    grown = []
    for place, (part, before) in enumerate(zip(parts, previous.sequences, strict=True)):
        if not part.takes_sampled or part.seq_id != before.seq_id or _bans_change(before, part):
            return None
        if part.block_table is not before.block_table:
            grown.append(place)
    return Continuation(tuple(grown))


def _bans_change(before: ScheduledSequence, part: ScheduledSequence) -> bool:
    if before.sampling is None or part.sampling is None:
        return True
    return before.sampling.banned_token_ids != part.sampling.banned_token_ids
