"""What the receiving side of a transfer is given, and what it asks its owner to do.

The values here carry no behaviour; legato.cluster.transfer.receiver decides when each is due.
"""

from dataclasses import dataclass
from enum import StrEnum

from legato.cluster.wire import ToPrefill


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasePolicy:
    """How long a reservation lives, in seconds."""

    renewal_s: float = 10.0  # from its opening or the writer's last heartbeat
    longest_s: float = 300.0  # from its opening, however alive the writer is


@dataclass(frozen=True, slots=True)
class ReservedBlocks:
    """The block table that D set aside for a sequence: `cached` then `fresh`."""

    cached: tuple[int, ...]  # prefix hits, never written by anyone
    fresh: tuple[int, ...]  # to be written by P
    epochs: tuple[int, ...]  # of each fresh block

    def __post_init__(self) -> None:
        assert len(self.fresh) == len(self.epochs), "every fresh block has an epoch"


class Anomaly(StrEnum):
    """What a peer sent and nobody acted on, or of a commit, what was wrong with its KV."""

    UNKNOWN_HANDLE = "unknown_handle"
    FORGED = "forged"
    WRITE_REFUSED = "write_refused"
    OUT_OF_ORDER = "out_of_order"
    DUPLICATE = "duplicate"  # of what is over: messages cross, and links break and come back
    REFUSED_EXPIRED = "refused_expired"
    REFUSED_COUNT = "refused_count"
    REFUSED_BLOCKS = "refused_blocks"
    REFUSED_EPOCHS = "refused_epochs"
    REFUSED_DIGEST = "refused_digest"


class DropReason(StrEnum):
    """Why a sequence that waits for its KV will not get it."""

    WRITER_GOES_ON = "writer_goes_on"  # P finished it or goes on alone: nothing is lost
    EXPIRED = "expired"
    WRITER_LOST = "writer_lost"


@dataclass(frozen=True, slots=True)
class Send:
    """Send `message` to the prefill worker `writer`; without a link to it, forget the message."""

    writer: str
    message: ToPrefill


@dataclass(frozen=True, slots=True)
class FreeBlocks:
    """Drop the reservation's reference on each block: nobody writes to them any more."""

    block_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """End the sequence of `transfer` on this worker: no KV will come for it."""

    transfer: bytes
    reason: DropReason


@dataclass(frozen=True, slots=True)
class Verify:
    """Compute the digests of these blocks off-thread, then call `finish_commit`."""

    handle: bytes
    block_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Adopt:
    """Schedule the sequence of `transfer`; the references on `block_ids` are its own from now on.

    The first `num_computed_tokens` tokens have valid KV in `block_ids`; everything known beyond
    them is to be computed. `refusal` says why P's KV is not among them; None: it is.
    """

    transfer: bytes
    block_ids: tuple[int, ...]
    num_computed_tokens: int
    output_token_ids: tuple[int, ...]
    refusal: str | None


ReceiverAction = Send | FreeBlocks | Drop | Verify | Adopt
