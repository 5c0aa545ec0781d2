"""The frozen values that pass between the engine's stages: schedule -> run -> update.

    SequenceRequest --add--> Scheduler --ScheduledBatch--> ModelRunner --RunResult--> update
                                                                  update --StepResult--> caller

Nothing here holds a tensor, knows a model or touches the block pool. What is made for every
sequence in every step is a msgspec.Struct: a frozen dataclass takes ten times as long to build, and
the garbage collector would look at it (these can be in no cycle).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from legato.engine.grammar_state import GrammarState
from legato.engine.handover import LeavingProgress
from legato.engine.sampling_params import SamplingParams


class FinishReason(StrEnum):
    """Why a sequence ended; the values are OpenAI's."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class SequenceRequest:
    """A sequence as the caller hands it in.

    `output_token_ids` are tokens that were already generated elsewhere (after a failover or a
    handover): they count as output for penalties, limits and the sampling position.
    `sampling_seed` is never None here: together with the output position it determines every
    random draw, so a sequence can move between engines without sampler state.
    """

    prompt_token_ids: tuple[int, ...]
    params: SamplingParams
    sampling_seed: int
    output_token_ids: tuple[int, ...] = ()
    priority: int = 0  # lower goes first
    salt: bytes = b""  # of the prefix cache: only equal salts share blocks


class SamplingInput(msgspec.Struct, frozen=True, gc=False):
    """What the sampler needs to know of one sequence in one step."""

    params: SamplingParams
    seed: int
    position: int  # index of the output token to be drawn, counting the one that is not known yet
    prompt_token_ids: tuple[int, ...]
    # The known ones; empty unless params have penalties. Where the sequence `takes_sampled`, the
    # token that it takes comes on top.
    output_token_ids: tuple[int, ...]
    # EOS and stop ids while min_tokens is not reached, and what would complete a bad word.
    banned_token_ids: tuple[int, ...]
    # Of a sequence whose answer has a form: at `position`, where it stays until this is sampled.
    # Bans give way where it, or `allowed_token_ids`, allows nothing else.
    grammar: GrammarState | None = None


class ScoredRows(msgspec.Struct, frozen=True, gc=False):
    """Rows of a prompt whose distributions are asked for: what each says of the token behind it."""

    first: int  # among the tokens that the part computes
    token_ids: tuple[int, ...]  # of the prompt; one behind each row
    num_top: int


class PooledRows(msgspec.Struct, frozen=True, gc=False):
    """Rows of a prompt whose hidden states are to be added up."""

    first: int  # among the tokens that the part computes
    number: int


class ScheduledSequence(msgspec.Struct, frozen=True, gc=False):
    """One sequence's part of a step: compute `token_ids` at positions `start`, `start` + 1, ...

    A sequence that `takes_sampled` computes one token, which only the device knows: the one that
    its previous step samples, and that step has not been collected yet. `token_ids` is empty then.
    """

    seq_id: int
    token_ids: tuple[int, ...]
    start: int  # tokens that are computed when the steps under way have finished
    block_table: tuple[int, ...]
    sampling: SamplingInput | None  # None: computed tokens do not catch up with known tokens yet
    takes_sampled: bool = False
    scored: ScoredRows | None = None
    pooled: PooledRows | None = None

    @property
    def num_tokens(self) -> int:
        """Tokens to compute."""
        return 1 if self.takes_sampled else len(self.token_ids)


@dataclass(frozen=True, slots=True)
class Continuation:
    """A batch that is the one launched before it, one token further.

    It has the same sequences in the same order, each takes the token that it has sampled there,
    and nobody asks for anything new. A runner need not look at them one by one.
    """

    grown: tuple[int, ...]  # places in the batch whose block tables have got longer


@dataclass(frozen=True, slots=True)
class ScheduledBatch:
    sequences: tuple[ScheduledSequence, ...]
    continuation: Continuation | None = None
    needs_hidden_rows: bool = False  # a sequence has rows that are scored or pooled


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log probabilities at one position, of the unmodified distribution."""

    token_id: int
    logprob: float
    rank: int  # of the chosen token (in a prompt: the one that is there); 1 is the likeliest
    top: tuple[tuple[int, float], ...]  # (token id, logprob), likeliest first


class SampledToken(msgspec.Struct, frozen=True, gc=False):
    token_id: int
    logprobs: TokenLogprobs | None


@dataclass(frozen=True, slots=True)
class RunResult:
    """One entry for each sequence of the batch that samples, in batch order.

    Attributes:
        scores: of each sequence with `scored` rows, one entry for each of these rows
        pools: of each sequence with `pooled` rows, their sum: [hidden] little-endian float32
    """

    sampled: tuple[SampledToken, ...]
    scores: Mapping[int, tuple[TokenLogprobs, ...]] | None = None
    pools: Mapping[int, bytes] | None = None


@dataclass(frozen=True, slots=True)
class FirstTokenTiming:
    """Where the time to the first token of this engine went, in seconds."""

    queue_s: float  # from add() until first scheduled
    prefill_s: float  # from first scheduled until the token was sampled


class SequenceOutput(msgspec.Struct, frozen=True, gc=False):
    """What one step gave one sequence."""

    seq_id: int
    position: int  # output index of token_ids[0]
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...]  # empty unless asked for
    finish_reason: FinishReason | None
    stop_token_id: int | None  # the EOS or stop id that ended it; it is the last of token_ids
    num_cached_tokens: int  # of the prompt, found in the prefix cache
    timing: FirstTokenTiming | None  # with the first token that this engine samples
    # With the first token of all, if asked for: of the prompt's tokens but the first.
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    embedding: bytes = b""  # of the prompt, likewise: [hidden] little-endian float32


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step gave; without any tokens computed, nothing was under way or could start."""

    outputs: tuple[SequenceOutput, ...]
    num_prefill_tokens: int
    num_decode_tokens: int
    leaving: tuple[LeavingProgress, ...] = ()
