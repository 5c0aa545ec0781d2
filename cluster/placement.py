"""Where a request is computed: a pure function of what the workers last reported.

For every choice it predicts the time to the first token and what the choice costs the others:

    disaggregated      wait(P) + prefill(P)        and one handover, P -> D
    local              wait(D) + prefill(D)        and a stall of D's streams while it prefills
    decode_on_prefill  wait(P) + prefill(P)        and a stall of P's queue, while no D has room
    prefill_only       wait(P) + prefill(P)        of what ends with its first token: no handover

and takes the cheapest sum. Every worker is a full engine, so each choice is always possible; a
short or cached prompt goes to D directly because its stall is shorter than a handover.
Nothing here knows streams, actors or clocks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

# Until a worker has measured its own, a rate must not decide for or against it.
DEFAULT_PREFILL_TOKENS_PER_S = 10_000.0
DEFAULT_STEP_TIME_S = 0.01
# Grant, commit and the step boundary that the sequence waits for, in steps of the decode worker.
HANDOVER_STEPS = 2.0
# Of a decode worker's blocks, kept free for the growth of what it decodes already.
DECODE_WATERMARK = 0.02


class Role(StrEnum):
    PREFILL = "prefill"
    DECODE = "decode"


class Decision(StrEnum):
    DISAGGREGATED = "disaggregated"
    LOCAL = "local"
    DECODE_ON_PREFILL = "decode_on_prefill"
    PREFILL_ONLY = "prefill_only"


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """One worker as the router sees it: its last report, and what was sent to it since."""

    worker: str
    role: Role
    num_queued_prefill_tokens: int
    num_running: int
    num_free_blocks: int
    num_total_blocks: int
    block_size: int
    bytes_per_block: int
    prefill_tokens_per_s: float  # 0: not measured yet
    step_time_s: float  # 0: not measured yet
    transfer_bytes_per_s: float  # of what it pushes to others
    num_cached_tokens: int  # of this prompt, by the router's prefix index


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request needs."""

    num_prompt_tokens: int  # prompt, and tokens generated before a failover
    local_prefill_max_tokens: int | None = None  # D computes up to this many itself; None: by cost
    ends_at_first_token: bool = False  # as embeddings do: there is nothing to hand over


@dataclass(frozen=True, slots=True)
class Placement:
    """`prefill` is None when one worker does both; `decode` is where the stream ends up."""

    prefill: str | None
    decode: str
    decision: Decision
    predicted_ttft_s: float


@dataclass(frozen=True, slots=True)
class _Option:
    cost_s: float
    placement: Placement


def place(demand: Demand, workers: Sequence[WorkerLoad]) -> Placement | None:
    """The cheapest placement; None if there is no worker at all.

    A worker without room is still better than none (its queue is bounded elsewhere), so room is
    preferred, not demanded.
    """
    prefillers = [worker for worker in workers if worker.role is Role.PREFILL]
    decoders = [worker for worker in workers if worker.role is Role.DECODE]
    roomy = [worker for worker in decoders if _has_room(worker, demand)]
    options = [
        *_local_options(demand, roomy, bool(prefillers)),
        *(
            _prefill_only_options(demand, prefillers)
            if demand.ends_at_first_token
            else _disaggregated_options(demand, prefillers, roomy)
        ),
    ]
    if not options:
        roomy_prefillers = [worker for worker in prefillers if _has_room(worker, demand)]
        options = [
            *_alone(demand, roomy_prefillers, Decision.DECODE_ON_PREFILL),
            *([] if roomy_prefillers else _alone(demand, decoders, Decision.LOCAL)),
        ] or list(_alone(demand, prefillers, Decision.DECODE_ON_PREFILL))
    return min(options, key=lambda option: option.cost_s).placement if options else None


def _has_room(worker: WorkerLoad, demand: Demand) -> bool:
    # Cached blocks count too: those that nobody uses are among the free ones.
    needed = demand.num_prompt_tokens // worker.block_size + 1
    return worker.num_free_blocks - needed >= DECODE_WATERMARK * worker.num_total_blocks


def _wait_s(worker: WorkerLoad) -> float:
    rate = worker.prefill_tokens_per_s or DEFAULT_PREFILL_TOKENS_PER_S
    return worker.num_queued_prefill_tokens / rate


def _prefill_s(worker: WorkerLoad, demand: Demand) -> float:
    rate = worker.prefill_tokens_per_s or DEFAULT_PREFILL_TOKENS_PER_S
    return max(demand.num_prompt_tokens - worker.num_cached_tokens, 1) / rate


def _alone(demand: Demand, workers: Iterable[WorkerLoad], decision: Decision) -> Iterable[_Option]:
    """One worker does both; its prefill stalls each of its streams, and one to come."""
    for worker in workers:
        prefill_s = _prefill_s(worker, demand)
        ttft_s = _wait_s(worker) + prefill_s
        stall_s = prefill_s * (worker.num_running + 1)
        yield _Option(ttft_s + stall_s, Placement(None, worker.worker, decision, ttft_s))


def _local_options(
    demand: Demand, decoders: Iterable[WorkerLoad], has_prefillers: bool
) -> Iterable[_Option]:
    limit = demand.local_prefill_max_tokens
    if limit is not None and has_prefillers:
        decoders = [
            worker
            for worker in decoders
            if demand.num_prompt_tokens - worker.num_cached_tokens <= limit
        ]
    return _alone(demand, decoders, Decision.LOCAL)


def _disaggregated_options(
    demand: Demand, prefillers: Iterable[WorkerLoad], decoders: Iterable[WorkerLoad]
) -> Iterable[_Option]:
    candidates = list(decoders)
    if not candidates:
        return
    for worker in prefillers:
        handover_s, best = min(
            ((_handover_s(worker, decoder, demand), decoder) for decoder in candidates),
            key=lambda pair: pair[0],
        )
        ttft_s = _wait_s(worker) + _prefill_s(worker, demand)
        yield _Option(
            ttft_s + handover_s,
            Placement(worker.worker, best.worker, Decision.DISAGGREGATED, ttft_s),
        )


def _prefill_only_options(demand: Demand, prefillers: Iterable[WorkerLoad]) -> Iterable[_Option]:
    for worker in prefillers:
        ttft_s = _wait_s(worker) + _prefill_s(worker, demand)
        yield _Option(ttft_s, Placement(None, worker.worker, Decision.PREFILL_ONLY, ttft_s))


def _handover_s(prefiller: WorkerLoad, decoder: WorkerLoad, demand: Demand) -> float:
    """Blocks to send, the steps that a handover waits for, and a full worker's slower steps."""
    num_tokens = max(demand.num_prompt_tokens - decoder.num_cached_tokens, 0)
    num_bytes = -(-num_tokens // decoder.block_size) * decoder.bytes_per_block
    rate = prefiller.transfer_bytes_per_s
    step_s = decoder.step_time_s or DEFAULT_STEP_TIME_S
    load = 1 + decoder.num_running / 64
    return num_bytes / rate + HANDOVER_STEPS * step_s * load
