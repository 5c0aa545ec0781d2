"""Every message that crosses a process boundary, as fixed msgspec schemas (msgpack, no pickle).

    router  == ToWorker / FromWorker ==>  engine actor          one stream for each pair
    decode  == ToPrefill / ToDecode  ==>  prefill engine actor  one stream for each pair, D connects

A frame is one msgpack array of messages, so that an engine step costs one write. Ids: `request`
is chosen by the router and means something on its stream alone; `transfer` (128 random bits,
made by the router for each attempt) joins the two halves of a disaggregated request; `handle`
(128 random bits, made by D) names a reservation. None of them is ever taken from a client.
"""

from typing import Literal

import msgspec

from legato.cluster.transfer.transport import PoolDescriptor
from legato.engine.batch import FinishReason, TokenLogprobs
from legato.engine.sampling_params import SamplingParams

MAX_FRAME_BYTES = 64 << 20


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The base of all messages: arrays on the wire, told apart by their class name."""


# ---------------------------------------------------------------- router -> engine actor


class Peer(msgspec.Struct, frozen=True, array_like=True):
    """The other half of a disaggregated request."""

    worker: str  # name of its rank-0 engine actor
    address: str  # host:port of its gRPC server
    transfer: bytes


class Submit(Message, frozen=True):
    """Take this sequence. With `prefill_at`, reserve blocks and wait for its KV to be pushed;
    with `decode_at`, compute it and hand it over as soon as the other side has granted blocks."""

    request: int
    prompt_token_ids: list[int]
    output_token_ids: list[int]
    params: SamplingParams
    sampling_seed: int
    priority: int
    salt: bytes
    prefill_at: Peer | None = None
    decode_at: Peer | None = None


class Cancel(Message, frozen=True):
    request: int


class Ping(Message, frozen=True):
    """Asks for nothing; a peer that hears nothing for some seconds takes the stream for dead."""


# ---------------------------------------------------------------- engine actor -> router


class StageTimes(msgspec.Struct, frozen=True, array_like=True):
    """Seconds (and bytes) that one engine actor spent on a request, by stage."""

    queue_s: float = 0.0
    prefill_s: float = 0.0
    reserve_s: float = 0.0
    transfer_s: float = 0.0
    transfer_bytes: int = 0
    num_cached_tokens: int = 0


class Tokens(Message, frozen=True):
    """What one step gave one request. `position` is the output index of the first token."""

    request: int
    position: int
    token_ids: list[int]
    logprobs: list[TokenLogprobs]
    finish_reason: FinishReason | None
    stop_token_id: int | None
    times: StageTimes | None  # with the first token of this worker
    prompt_logprobs: list[TokenLogprobs] = []  # with the first token of all, if asked for
    embedding: bytes = b""  # of the prompt, likewise: little-endian float32


class HandedOver(Message, frozen=True):
    """P: the decode worker has taken the sequence; no more tokens come from here."""

    request: int
    times: StageTimes


class Failed(Message, frozen=True):
    """The worker will do no more for this request.

    `client`: the request can never be served; `capacity`: there is no room for it now;
    `lost`: this attempt broke, its tokens so far are good.
    """

    request: int
    kind: Literal["client", "capacity", "lost"]
    message: str
    param: str | None = None
    code: str | None = None


class Report(Message, frozen=True):
    """A worker's load and rates, several times a second; what placement and metrics read."""

    worker: str
    role: str
    num_running: int
    num_waiting: int
    num_queued_prefill_tokens: int
    num_free_blocks: int
    num_total_blocks: int
    block_size: int
    num_reserved_blocks: int
    num_quarantined_blocks: int
    prefill_tokens_per_s: float
    step_time_s: float
    transfer_bytes_per_s: float
    bytes_per_block: int
    counters: dict[str, float]  # monotonic totals, by metric name
    is_leaving: bool = False  # no new sequence, if another worker can take it
    ttft_s: float = 0.0  # recent mean, from arrival here to the first token
    transports: dict[str, str] = {}  # by decode worker that is linked: how KV goes to it


class Pong(Message, frozen=True):
    """The answer to a Ping."""


# ---------------------------------------------------------------- decode -> prefill


class Hello(Message, frozen=True):
    """The first message of the stream: who D is, and the pool that P is to write to."""

    pool: PoolDescriptor


class Grant(Message, frozen=True):
    """D reserved blocks: write prompt block `first_block` + i into `block_ids`[i].

    Blocks before `first_block` are in D's prefix cache already and are not sent.
    """

    transfer: bytes
    handle: bytes
    first_block: int
    block_ids: list[int]
    epochs: list[int]


class Deny(Message, frozen=True):
    """D has no room (or dropped the request): P goes on alone."""

    transfer: bytes


class Revoke(Message, frozen=True):
    """D aborted the reservation: stop writing, then confirm with Stopped."""

    transfer: bytes
    handle: bytes


class CommitReply(Message, frozen=True):
    """`taken`: D owns the sequence from now on, and P may free its blocks.

    `recomputes` says that D refused the KV (digest, epochs, count, expiry) and computes it anew.
    """

    handle: bytes
    taken: bool
    recomputes: bool


# ---------------------------------------------------------------- prefill -> decode


class Commit(Message, frozen=True):
    """All of P's writes have landed: this is what they hold, and where the sequence stands.

    `digests`[i] covers `block_ids`[i]. `num_computed_tokens` counts tokens with valid KV in D's
    pool, D's own prefix hits included; D computes what is known beyond that by itself.
    """

    transfer: bytes
    handle: bytes
    block_ids: list[int]
    epochs: list[int]
    digests: list[int]
    num_computed_tokens: int
    output_token_ids: list[int]


class Abandon(Message, frozen=True):
    """P needs the reservation no more (the sequence ended there) and has stopped writing."""

    transfer: bytes
    handle: bytes


class Stopped(Message, frozen=True):
    """P has no write under way for this reservation and will start none."""

    handle: bytes


class Heartbeat(Message, frozen=True):
    """Renews the leases of the reservations between the two workers."""


ToWorker = Submit | Cancel | Ping
FromWorker = Tokens | HandedOver | Failed | Report | Pong
ToPrefill = Hello | Grant | Deny | Revoke | CommitReply | Heartbeat
ToDecode = Commit | Abandon | Stopped | Heartbeat
