"""One sequence while the engine works on it.

               admit                  finish, abort
    WAITING ---------> RUNNING --------------------> FINISHED
       ^  preempt        |  ^                            ^
       +-----------------+  | resume                     |
                         v  |         release, abort     |
                        PAUSED --------------------------+

A sequence has known tokens (prompt and output so far) and computed tokens (those whose KV is in
its blocks). A step computes some of the difference; when none is left, the next token is sampled
and becomes known. There is no other notion of prefill or decode. The scheduler is the only owner:
nobody else changes a sequence or keeps one.
"""

from dataclasses import dataclass, field
from enum import Enum, auto

from legato.engine.batch import (
    FinishReason,
    FirstTokenTiming,
    SamplingInput,
    ScheduledSequence,
    SequenceRequest,
)
from legato.engine.limits import EngineLimits

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
    token_ids: list[int]  # all known tokens
    status: SequenceStatus = SequenceStatus.WAITING
    num_computed_tokens: int = 0
    num_cached_tokens: int | None = None  # of the prompt; None before the first admission
    block_table: tuple[int, ...] = ()
    num_registered_blocks: int = 0  # the head of block_table that is in the prefix cache
    block_hashes: list[bytes] = field(default_factory=list)
    first_scheduled_s: float | None = None
    timing: FirstTokenTiming | None = None

    @classmethod
    def of(
        cls, seq_id: int, request: SequenceRequest, limits: EngineLimits, now_s: float
    ) -> "Sequence":
        """Raises: what `EngineLimits.total_tokens` raises."""
        eos = () if request.params.ignore_eos else limits.eos_token_ids
        return cls(
            seq_id=seq_id,
            request=request,
            max_total_tokens=limits.total_tokens(request),
            stop_ids=frozenset((*eos, *request.params.stop_token_ids)),
            arrival_s=now_s,
            token_ids=[*request.prompt_token_ids, *request.output_token_ids],
        )

    @property
    def rank(self) -> tuple[float, int]:
        """Who goes first: the smaller. Fixed for life, so the first one always gets to its end."""
        return self.arrival_s + self.request.priority * PRIORITY_LEVEL_S, self.seq_id

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.request.prompt_token_ids)

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - len(self.request.prompt_token_ids)

    @property
    def num_uncomputed_tokens(self) -> int:
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def output_token_ids(self) -> tuple[int, ...]:
        return tuple(self.token_ids[self.num_prompt_tokens :])

    def part_of_step(self, num_tokens: int) -> ScheduledSequence:
        """The next `num_tokens` uncomputed tokens, as the runner takes them."""
        start = self.num_computed_tokens
        end = start + num_tokens
        return ScheduledSequence(
            seq_id=self.seq_id,
            token_ids=tuple(self.token_ids[start:end]),
            start=start,
            block_table=self.block_table,
            sampling=self._sampling_input() if end == len(self.token_ids) else None,
        )

    def _sampling_input(self) -> SamplingInput:
        params, position = self.request.params, self.num_output_tokens
        return SamplingInput(
            params=params,
            seed=self.request.sampling_seed,
            position=position,
            prompt_token_ids=self.request.prompt_token_ids,
            # Copying all outputs in every step would make long answers quadratic.
            output_token_ids=self.output_token_ids if params.has_penalties else (),
            banned_token_ids=tuple(self.stop_ids) if position < params.min_tokens else (),
        )

    def append(self, token_id: int, now_s: float) -> FinishReason | None:
        """Makes a sampled token known; tells whether it is the last one."""
        if self.timing is None and self.first_scheduled_s is not None:
            self.timing = FirstTokenTiming(
                queue_s=self.first_scheduled_s - self.arrival_s,
                prefill_s=now_s - self.first_scheduled_s,
            )
        self.token_ids.append(token_id)
        if token_id in self.stop_ids and self.num_output_tokens > self.request.params.min_tokens:
            return FinishReason.STOP
        return FinishReason.LENGTH if len(self.token_ids) >= self.max_total_tokens else None
