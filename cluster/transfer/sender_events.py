"""What happens to a handover on the prefill worker, and what it asks its owner to do.

The values carry no behaviour; legato.cluster.transfer.sender decides. The messages Grant, Deny,
Revoke and CommitReply of legato.cluster.wire are events too, as they come from the decode worker.

A *pin* is one reference on a block of the local pool that keeps its content in place. Each event
that brings pins brings one for each listed block, and each pin comes back in exactly one Unpin.
"""

from dataclasses import dataclass

from legato.cluster.transfer.transport import PushReport
from legato.cluster.wire import Abandon, Commit, CommitReply, Deny, Grant, Revoke, Stopped

# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class BlocksComputed:
    """Blocks of the sequence, from index `first` of its block table on, are full and pinned.

    Prefix hits count as computed. A block may come twice (after a preemption).
    """

    first: int
    block_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FirstToken:
    """The whole prompt is computed and the first output token is sampled."""


@dataclass(frozen=True, slots=True)
class Preempted:
    """The engine took the sequence's memory: pins that no push uses are to be given up.

    A paused sequence is never preempted.
    """


@dataclass(frozen=True, slots=True)
class Paused:
    """The engine stopped the sequence between two steps: as asked, or at its first token.

    The whole table is pinned.
    """

    block_ids: tuple[int, ...]  # index 0 on, the partly filled last block included
    num_computed_tokens: int
    output_token_ids: tuple[int, ...]  # all sampled, the one not yet computed included


@dataclass(frozen=True, slots=True)
class NotPaused:
    """The engine could not pause the sequence: it is over, or preempted now."""


@dataclass(frozen=True, slots=True)
class PushDone:
    """The push has landed in the peer's pool."""

    push_id: int
    report: PushReport


@dataclass(frozen=True, slots=True)
class PushFailed:
    """The push did not land whole, and no write of it is under way any more."""

    push_id: int


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The link to the decode worker is down, or it has not answered a Commit for too long."""


@dataclass(frozen=True, slots=True)
class FinishedHere:
    """The sequence ended on this worker (stop, length); the engine has let go of it."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The router wants this worker's half of the request no more."""


HandoverEvent = (
    Grant
    | Deny
    | Revoke
    | CommitReply
    | BlocksComputed
    | FirstToken
    | Preempted
    | Paused
    | NotPaused
    | PushDone
    | PushFailed
    | LinkLost
    | FinishedHere
    | Cancelled
)

# ---------------------------------------------------------------- actions


@dataclass(frozen=True, slots=True)
class Push:
    """Start to copy; answer with PushDone or PushFailed. Only one is under way at a time."""

    push_id: int
    handle: bytes
    src_block_ids: tuple[int, ...]
    dst_block_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop the sequence at the next step boundary; answer with Paused or NotPaused."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on with the sequence on this worker, whether it is paused now or would be later."""


@dataclass(frozen=True, slots=True)
class Release:
    """Drop the sequence, paused or not, and whatever the engine holds for it."""


@dataclass(frozen=True, slots=True)
class Unpin:
    """Give back one pin of each block."""

    block_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Send to the decode worker; without a link to it, forget the message: it will ask again."""

    message: Commit | Abandon | Stopped


@dataclass(frozen=True, slots=True)
class ReportHandedOver:
    """Tell the router that the decode worker has the sequence."""


@dataclass(frozen=True, slots=True)
class ReportLost:
    """Tell the router that nobody knows whether the decode worker has the sequence."""


HandoverAction = Push | Pause | Resume | Release | Unpin | Send | ReportHandedOver | ReportLost
