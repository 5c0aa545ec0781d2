"""One sequence while the engine works on it.

               admit                  finish, abort
    WAITING ---------> RUNNING --------------------> FINISHED
       ^  preempt        |  ^                            ^
       +-----------------+  | resume                     |
                         v  |         release, abort     |
                        PAUSED --------------------------+

A sequence has known tokens (prompt and output so far) and computed tokens (those whose KV is in
its blocks). A step computes some of the difference; when none is left, the next token is sampled
and becomes known. There is no other notion of prefill or decode.

    |<---------------- known ---------------->|<- pending ->|    sampled by a step under way
    |<---- computed ---->|<------ under way ------>|<- n ->|     n: not scheduled yet

A sequence whose answer has a form, or must not have some words in it, is not planned beyond its
pending token: what may follow depends on that.

Steps are planned while earlier ones are still under way on the device. What these compute counts
as computed when they are collected, and not before: until then it may yet be dropped and planned
anew. A sequence whose pending token is the last that it may have has nothing left to schedule.

The scheduler is the only owner: nobody else changes a sequence or keeps one.
"""

from dataclasses import dataclass, field
from enum import Enum, auto

from legato.engine.bad_words import forbidden_next
from legato.engine.batch import (
    FinishReason,
    FirstTokenTiming,
    RunResult,
    SamplingInput,
    ScheduledSequence,
    SequenceRequest,
)
from legato.engine.grammar_state import GrammarState
from legato.engine.limits import EngineLimits
from legato.engine.prompt_pool import PromptPool
from legato.engine.prompt_scores import PromptScores

# What one level of priority is worth. A sequence is overtaken by those of a lower number that come
# within this time for each level between them, and never by later ones: nobody starves.
PRIORITY_LEVEL_S = 30.0


class SequenceStatus(Enum):
    WAITING = auto()  # holds no blocks
    RUNNING = auto()  # holds blocks; takes part in steps
    PAUSED = auto()  # holds blocks, takes no part and is never preempted
    FINISHED = auto()


@dataclass(slots=True, eq=False)
class Sequence:
    """The mutable state of a sequence; `of()` makes one from a request."""

    seq_id: int
    request: SequenceRequest
    max_total_tokens: int
    stop_ids: frozenset[int]  # EOS, unless ignored, and stop_token_ids
    arrival_s: float
    num_prompt_tokens: int
    token_ids: list[int]  # all known tokens
    bad_token_ids: tuple[int, ...]  # bad words of one token
    bad_sequences: tuple[tuple[int, ...], ...]  # longer ones
    waits_for_token: bool  # what may follow a token depends on it
    grammar: GrammarState | None = None  # of the known output
    status: SequenceStatus = SequenceStatus.WAITING
    num_computed_tokens: int = 0  # by steps that have been collected
    num_tokens_under_way: int = 0  # that steps under way compute
    num_pending_tokens: int = 0  # that steps under way sample
    last_step: int = 0  # the number of the last step that it was in
    first_valid_step: int = 0  # what earlier steps give it is dropped
    num_cached_tokens: int | None = None  # of the prompt; None before the first admission
    block_table: tuple[int, ...] = ()
    num_registered_blocks: int = 0  # the head of block_table that is in the prefix cache
    is_held: bool = False  # it is to stand still at its next token (leaving.py)
    block_hashes: list[bytes] = field(default_factory=list)
    scores: PromptScores | None = None  # if asked for, until they are told
    pool: PromptPool | None = None  # likewise
    first_scheduled_s: float | None = None
    timing: FirstTokenTiming | None = None

    @classmethod
    def of(
        cls,
        seq_id: int,
        request: SequenceRequest,
        limits: EngineLimits,
        now_s: float,
        grammar: GrammarState | None = None,
    ) -> "Sequence":
        """Raises: what `EngineLimits.total_tokens` raises."""
        if grammar is not None:
            eos = grammar.end_ids
        else:
            eos = () if request.params.ignore_eos else limits.eos_token_ids
        bad_words = request.params.bad_words_token_ids
        bad_sequences = tuple(token_ids for token_ids in bad_words if len(token_ids) > 1)
        return cls(
            seq_id=seq_id,
            request=request,
            max_total_tokens=limits.total_tokens(request),
            stop_ids=frozenset((*eos, *request.params.stop_token_ids)),
            arrival_s=now_s,
            num_prompt_tokens=len(request.prompt_token_ids),
            token_ids=[*request.prompt_token_ids, *request.output_token_ids],
            bad_token_ids=tuple(token_ids[0] for token_ids in bad_words if len(token_ids) == 1),
            bad_sequences=bad_sequences,
            waits_for_token=grammar is not None or len(bad_sequences) > 0,
            grammar=grammar,
            scores=_prompt_scores(request),
            pool=_prompt_pool(request),
        )

    @property
    def rank(self) -> tuple[float, int]:
        """Who goes first: the smaller. Fixed for life, so the first one always gets to its end."""
        return self.arrival_s + self.request.priority * PRIORITY_LEVEL_S, self.seq_id

    @property
    def num_reusable_tokens(self) -> int:
        """Known tokens that need not be computed, if they are cached."""
        # The last one is always computed: its logits give the next.
        number = len(self.token_ids) - 1
        if self.scores is not None:
            number = min(number, self.scores.num_known)
        return number if self.pool is None else min(number, self.pool.num_reusable)

    def collected_prompt(self, part: ScheduledSequence, result: RunResult) -> None:
        """Takes what the step with `part` found out about the prompt."""
        if part.scored is not None and self.scores is not None and result.scores is not None:
            self.scores.take(result.scores[self.seq_id])
        if part.pooled is not None and self.pool is not None and result.pools is not None:
            self.pool.take(part.pooled, result.pools[self.seq_id])

    def forget_prompt(self) -> None:
        """What is known of the prompt has been told, or is told elsewhere."""
        self.scores = None
        self.pool = None

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def num_uncomputed_tokens(self) -> int:
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def is_ending(self) -> bool:
        """Whether the pending token is the last in any case."""
        return len(self.token_ids) + self.num_pending_tokens >= self.max_total_tokens

    @property
    def num_unscheduled_tokens(self) -> int:
        """What is left for the next step: 0 if it must wait for its pending token, or is ending."""
        num_tokens = len(self.token_ids) + self.num_pending_tokens
        must_wait = (self.waits_for_token or self.is_held) and self.num_pending_tokens > 0
        if must_wait or num_tokens >= self.max_total_tokens:
            return 0
        return num_tokens - self.num_computed_tokens - self.num_tokens_under_way

    @property
    def output_token_ids(self) -> tuple[int, ...]:
        return tuple(self.token_ids[self.num_prompt_tokens :])

    def part_of_step(self, num_tokens: int) -> ScheduledSequence:
        """The next `num_tokens` unscheduled tokens, as the runner takes them."""
        num_known = len(self.token_ids)
        start = self.num_computed_tokens + self.num_tokens_under_way
        end = start + num_tokens
        takes_sampled = start >= num_known
        is_last = end == num_known + self.num_pending_tokens
        return ScheduledSequence(
            seq_id=self.seq_id,
            token_ids=() if takes_sampled else tuple(self.token_ids[start:end]),
            start=start,
            block_table=self.block_table,
            sampling=self._sampling_input() if is_last else None,
            takes_sampled=takes_sampled,
            scored=None if self.scores is None else self.scores.rows(start, end),
            pooled=None if self.pool is None else self.pool.rows(start, end),
        )

    def _sampling_input(self) -> SamplingInput:
        params = self.request.params
        position = self.num_output_tokens + self.num_pending_tokens
        return SamplingInput(
            params=params,
            seed=self.request.sampling_seed,
            position=position,
            prompt_token_ids=self.request.prompt_token_ids,
            # Copying all outputs in every step would make long answers quadratic.
            output_token_ids=self.output_token_ids if params.has_penalties else (),
            banned_token_ids=self._banned_token_ids(position),
            grammar=self.grammar,
        )

    def _banned_token_ids(self, position: int) -> tuple[int, ...]:
        banned = self.bad_token_ids
        if self.bad_sequences:
            longest = max(map(len, self.bad_sequences))
            first = max(self.num_prompt_tokens, len(self.token_ids) - longest)
            banned += forbidden_next(self.bad_sequences, self.token_ids[first:])
        if position < self.request.params.min_tokens:
            return (*banned, *self.stop_ids)
        # Behind an end nothing could follow, so that it cannot just be ignored.
        if self.grammar is not None and self.request.params.ignore_eos:
            return (*banned, *self.grammar.end_ids)
        return banned

    def launched(self, step: int, part: ScheduledSequence) -> None:
        """`part` of this sequence is under way with step number `step`."""
        self.num_tokens_under_way += part.num_tokens
        self.num_pending_tokens += part.sampling is not None
        self.last_step = step

    def collected(self, part: ScheduledSequence) -> None:
        """`part` has been computed."""
        num_tokens = part.num_tokens
        self.num_computed_tokens += num_tokens
        self.num_tokens_under_way -= num_tokens
        self.num_pending_tokens -= part.sampling is not None

    def drop_steps(self, next_step: int) -> None:
        """What steps before `next_step` have under way for this sequence is computed anew."""
        self.num_tokens_under_way = 0
        self.num_pending_tokens = 0
        self.first_valid_step = next_step

    def append(self, token_id: int, now_s: float) -> FinishReason | None:
        """Makes a sampled token known; tells whether it is the last one."""
        if self.timing is None and self.first_scheduled_s is not None:
            self.timing = FirstTokenTiming(
                queue_s=self.first_scheduled_s - self.arrival_s,
                prefill_s=now_s - self.first_scheduled_s,
            )
        self.token_ids.append(token_id)
        if self.grammar is not None:
            self.grammar.accept(token_id)
            if self.grammar.is_over:
                return FinishReason.LENGTH if self.grammar.has_failed else FinishReason.STOP
        if token_id in self.stop_ids and self.num_output_tokens > self.request.params.min_tokens:
            return FinishReason.STOP
        return FinishReason.LENGTH if len(self.token_ids) >= self.max_total_tokens else None


def _prompt_scores(request: SequenceRequest) -> PromptScores | None:
    """None: not asked for, or told with the first token, which is known already."""
    num_top = request.params.prompt_logprobs
    if num_top is None or request.output_token_ids:
        return None
    return PromptScores(request.prompt_token_ids, num_top)


def _prompt_pool(request: SequenceRequest) -> PromptPool | None:
    pooling = request.params.pooling
    if pooling is None or request.output_token_ids:
        return None
    return PromptPool(len(request.prompt_token_ids), pooling)
