"""What goes into the cluster for one sequence, and what comes out of it, step by step.

These values join the API to the cluster: the API knows no workers, the cluster knows no HTTP.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from legato.engine.batch import FinishReason, TokenLogprobs
from legato.engine.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One sequence to generate; `params.n` and `params.stop` have no meaning behind this line."""

    prompt_token_ids: tuple[int, ...]
    params: SamplingParams
    sampling_seed: int
    priority: int  # lower goes first
    salt: bytes  # of the prefix cache: only equal salts share blocks


class GenerationEvent(msgspec.Struct, frozen=True):
    """What one step gave one sequence.

    `timeline` comes with the first and with the last event: seconds by stage. `queue` and
    `prefill` lie before the first token; `reserve` and `transfer` overlap with what follows it.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...] = ()  # one for each token, or empty
    finish_reason: FinishReason | None = None
    stop_token_id: int | None = None  # the EOS or stop id that ended it; the last of token_ids
    num_cached_tokens: int | None = None  # of the prompt; with the first event
    timeline: Mapping[str, float] | None = None
    # With the first event, if asked for: of each token of the prompt but the first.
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    embedding: bytes = b""  # of the prompt, likewise: little-endian float32
    worker: str | None = None  # that generated this; None: the same one as before
