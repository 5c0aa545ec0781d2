"""One reservation of KV blocks for one writer, as the receiving side keeps it.

Its states and transitions are drawn and made in legato.cluster.transfer.receiver.
"""

from dataclasses import dataclass
from enum import StrEnum

from legato.cluster.transfer.receiver_actions import ReservedBlocks
from legato.cluster.wire import Commit


class ReservationState(StrEnum):
    """Drawn in legato.cluster.transfer.receiver. RELEASED ones are no longer in the table."""

    RESERVED = "reserved"
    RECEIVING = "receiving"
    COMMITTED = "committed"
    ABORTED = "aborted"
    EXPIRED = "expired"


QUARANTINE = (ReservationState.ABORTED, ReservationState.EXPIRED)


@dataclass(slots=True)
class Reservation:
    """One entry of the table, changed by the table alone."""

    transfer: bytes
    handle: bytes
    writer: str
    blocks: ReservedBlocks
    expires_at: float
    last_expiry: float  # renewals do not reach beyond it
    state: ReservationState = ReservationState.RESERVED
    commit: Commit | None = None
    is_dropped: bool = False  # aborted while COMMITTED
    has_writer_stopped: bool = False
    num_local_writes: int = 0  # copies into the blocks that this process itself has under way

    @property
    def block_ids(self) -> tuple[int, ...]:
        return self.blocks.cached + self.blocks.fresh

    def fault_of(self, commit: Commit, block_size: int, now: float) -> str | None:
        """Why the KV of this commit is not to be trusted, before a byte of it is read."""
        num_blocks = len(commit.block_ids)
        num_filled = -(-commit.num_computed_tokens // block_size) - len(self.blocks.cached)
        if now >= self.expires_at:
            return "expired"
        if num_filled != num_blocks or len(commit.digests) != num_blocks:
            return "count"
        if commit.block_ids != list(self.blocks.fresh[:num_blocks]):
            return "blocks"
        if commit.epochs != list(self.blocks.epochs[:num_blocks]):
            return "epochs"
        return None
