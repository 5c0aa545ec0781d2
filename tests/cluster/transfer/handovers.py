"""Handovers in each of their states, for tests of what comes next."""

from legato.cluster.transfer.sender import Handover, HandoverPolicy, HandoverState
from legato.cluster.transfer.sender_events import (
    BlocksComputed,
    FirstToken,
    HandoverAction,
    HandoverEvent,
    Pause,
    Paused,
    Push,
    PushDone,
    Send,
    Unpin,
)
from legato.cluster.transfer.transport import PushReport
from legato.cluster.wire import Abandon, CommitReply, Grant, Revoke, Stopped

TRANSFER = b"t" * 16
HANDLE = b"h" * 16
OTHER_HANDLE = b"o" * 16
BLOCK_SIZE = 4
POLICY = HandoverPolicy(block_size=BLOCK_SIZE, bytes_per_block=100, max_bytes_left=100)
# Blocks 0 and 1 are prefix hits over there; 2, 3 and 4 may be written.
GRANT = Grant(TRANSFER, HANDLE, first_block=2, block_ids=[72, 73, 74], epochs=[1, 2, 3])
PAUSED = Paused((10, 11, 12, 13, 14), num_computed_tokens=17, output_token_ids=(5, 6))
ABANDON = Send(Abandon(TRANSFER, HANDLE))
STOPPED = Send(Stopped(HANDLE))
REVOKE = Revoke(TRANSFER, HANDLE)
TAKEN = CommitReply(HANDLE, taken=True, recomputes=False)
REFUSED = CommitReply(HANDLE, taken=False, recomputes=False)


def digest_of(block_id: int) -> int:
    return 1000 + block_id


def landed(push: HandoverAction) -> PushDone:
    assert isinstance(push, Push)
    digests = tuple(map(digest_of, push.src_block_ids))
    return PushDone(push.push_id, PushReport(100 * len(digests), 0.5, digests))


def handover_after(*events: HandoverEvent) -> Handover:
    handover = Handover(TRANSFER, POLICY)
    for event in events:
        handover.handle(event)
    return handover


def pushing() -> tuple[Handover, Push]:
    """Two granted blocks under way, no token yet."""
    handover = handover_after(GRANT)
    _, push = handover.handle(BlocksComputed(0, (10, 11, 12, 13)))
    assert isinstance(push, Push)
    return handover, push


def pausing() -> Handover:
    """All full blocks have landed, the pause is asked for."""
    handover, push = pushing()
    handover.handle(landed(push))
    assert handover.handle(FirstToken()) == (Pause(),)
    return handover


def flushing() -> tuple[Handover, Push]:
    """Paused, the last block under way."""
    handover = pausing()
    unpin, push = handover.handle(PAUSED)
    assert unpin == Unpin((10, 11, 12, 13)) and isinstance(push, Push)
    return handover, push


def committing() -> Handover:
    handover, push = flushing()
    handover.handle(landed(push))
    assert handover.state is HandoverState.COMMITTING
    return handover
