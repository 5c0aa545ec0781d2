"""Every transition of a handover, with late, repeated, reordered and forged events."""

import pytest

from legato.cluster.transfer.sender import Handover, HandoverPolicy, HandoverState
from legato.cluster.transfer.sender_events import (
    BlocksComputed,
    Cancelled,
    FinishedHere,
    FirstToken,
    HandoverAction,
    HandoverEvent,
    LinkLost,
    NotPaused,
    Pause,
    Paused,
    Preempted,
    Push,
    PushDone,
    PushFailed,
    Release,
    ReportHandedOver,
    ReportLost,
    Resume,
    Send,
    Unpin,
)
from legato.cluster.transfer.transport import PushReport
from legato.cluster.wire import Abandon, Commit, CommitReply, Deny, Grant, Revoke, Stopped

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


# ---------------------------------------------------------------- the way to the end


def test_full_blocks_behind_the_prefix_hits_are_pushed_as_they_come() -> None:
    handover = handover_after(GRANT)
    assert handover.handle(BlocksComputed(0, (10, 11, 12))) == (
        Unpin((10, 11)),
        Push(1, HANDLE, (12,), (72,)),
    )


def test_blocks_computed_during_a_push_go_with_the_next() -> None:
    handover, push = pushing()
    assert handover.handle(BlocksComputed(4, (14,))) == ()
    assert handover.handle(landed(push)) == (Unpin((12, 13)), Push(2, HANDLE, (14,), (74,)))


def test_blocks_computed_before_the_grant_wait_for_it() -> None:
    handover = Handover(TRANSFER, POLICY)
    assert handover.handle(BlocksComputed(0, (10, 11))) == ()
    assert handover.handle(BlocksComputed(2, (12, 13))) == ()
    assert handover.handle(GRANT) == (Unpin((10, 11)), Push(1, HANDLE, (12, 13), (72, 73)))


def test_blocks_beyond_the_grant_are_not_kept() -> None:
    handover, _ = pushing()
    assert handover.handle(BlocksComputed(4, (14, 15, 16))) == (Unpin((15, 16)),)


def test_a_block_that_comes_twice_is_pushed_once() -> None:
    handover, push = pushing()
    assert handover.handle(BlocksComputed(0, (20, 21, 22, 23))) == (Unpin((20, 21, 22, 23)),)
    handover.handle(landed(push))
    assert handover.handle(BlocksComputed(2, (32, 33))) == (Unpin((32, 33)),)


def test_the_sequence_decodes_on_while_much_is_left() -> None:
    handover, push = pushing()
    assert handover.handle(FirstToken()) == ()
    assert handover.handle(landed(push)) == (Unpin((12, 13)), Pause())


def test_the_sequence_is_paused_while_the_little_that_is_left_goes_out() -> None:
    handover = handover_after(GRANT, FirstToken())
    assert handover.state is HandoverState.PAUSING


def test_a_handover_without_a_grant_never_pauses() -> None:
    handover = Handover(TRANSFER, POLICY)
    assert handover.handle(FirstToken()) == ()
    assert handover.handle(GRANT) == (Pause(),)


def test_a_sequence_that_cannot_be_paused_is_tried_again_later() -> None:
    handover = pausing()
    assert handover.handle(NotPaused()) == ()
    assert handover.state is HandoverState.PUSHING
    _, again = handover.handle(BlocksComputed(4, (14,)))
    assert again == Pause()


def test_the_commit_says_what_has_landed() -> None:
    handover, push = flushing()
    assert (push.src_block_ids, push.dst_block_ids) == ((14,), (74,))
    unpin, commit = handover.handle(landed(push))
    assert unpin == Unpin((14,))
    assert commit == Send(
        Commit(
            transfer=TRANSFER,
            handle=HANDLE,
            block_ids=[72, 73, 74],
            epochs=[1, 2, 3],
            digests=[digest_of(12), digest_of(13), digest_of(14)],
            num_computed_tokens=17,
            output_token_ids=[5, 6],
        )
    )
    assert (handover.transfer_bytes, handover.transfer_s) == (300, 1.0)


def test_the_commit_waits_for_the_push_that_was_under_way_at_the_pause() -> None:
    handover = handover_after(GRANT, FirstToken())
    push, *_ = handover.handle(BlocksComputed(2, (12,)))
    assert handover.handle(PAUSED) == (Unpin((10, 11, 12)),)
    _, last = handover.handle(landed(push))
    assert last == Push(2, HANDLE, (13, 14), (73, 74))
    handover.handle(landed(last))
    assert handover.state is HandoverState.COMMITTING


def test_a_commit_uses_only_the_blocks_that_are_filled() -> None:
    handover = handover_after(GRANT, FirstToken())
    _, push = handover.handle(Paused((10, 11, 12), 9, (5,)))
    _, commit = handover.handle(landed(push))
    assert isinstance(commit, Send) and isinstance(commit.message, Commit)
    assert commit.message.block_ids == [72]
    assert commit.message.epochs == [1]


def test_tokens_beyond_the_grant_are_left_to_the_decode_worker() -> None:
    handover = handover_after(GRANT, FirstToken())
    unpin, push = handover.handle(Paused((10, 11, 12, 13, 14, 15), 22, (5, 6, 7, 8)))
    assert unpin == Unpin((10, 11, 15))
    _, commit = handover.handle(landed(push))
    assert isinstance(commit, Send) and isinstance(commit.message, Commit)
    assert commit.message.num_computed_tokens == 5 * BLOCK_SIZE
    assert commit.message.output_token_ids == [5, 6, 7, 8]


def test_a_taken_sequence_is_released_and_reported() -> None:
    handover = committing()
    assert handover.handle(TAKEN) == (Release(), ReportHandedOver())
    assert handover.state is HandoverState.DONE and handover.is_over
    assert handover.handle(TAKEN) == handover.handle(LinkLost()) == ()
    assert handover.handle(Cancelled()) == ()


def test_a_sequence_that_was_not_taken_goes_on_here() -> None:
    handover = committing()
    assert handover.handle(REFUSED) == (Resume(),)
    assert handover.state is HandoverState.ALONE and handover.is_over
    assert handover.handle(TAKEN) == ()


# ---------------------------------------------------------------- ways out


def test_a_denied_sequence_stays_here() -> None:
    handover = handover_after(BlocksComputed(0, (10,)))
    assert handover.handle(Deny(TRANSFER)) == (Unpin((10,)),)
    assert handover.state is HandoverState.ALONE and handover.is_over
    assert handover.handle(BlocksComputed(1, (11,))) == (Unpin((11,)),)


def test_a_denial_after_the_grant_is_not_believed() -> None:
    handover, _ = pushing()
    assert handover.handle(Deny(TRANSFER)) == ()
    assert handover.state is HandoverState.PUSHING


def test_a_revoked_sequence_stays_here() -> None:
    handover = handover_after(GRANT)
    assert handover.handle(REVOKE) == (STOPPED,)
    assert handover.state is HandoverState.ALONE
    assert handover.handle(REVOKE) == (STOPPED,)


def test_stopped_is_said_only_when_the_push_under_way_has_ended() -> None:
    handover, push = pushing()
    assert handover.handle(BlocksComputed(4, (14,))) == ()
    assert handover.handle(REVOKE) == (Unpin((14,)),)
    assert handover.state is HandoverState.STOPPING and not handover.is_over
    assert handover.handle(landed(push)) == (Unpin((12, 13)), STOPPED)
    assert handover.is_over


def test_a_revoke_before_its_grant_makes_the_grant_worthless() -> None:
    handover = Handover(TRANSFER, POLICY)
    assert handover.handle(REVOKE) == (STOPPED,)
    assert handover.handle(GRANT) == (ABANDON,)
    assert handover.handle(BlocksComputed(0, (10,))) == (Unpin((10,)),)


def test_a_revoke_while_pausing_resumes_the_sequence_once_it_is_paused() -> None:
    handover = pausing()
    assert handover.handle(REVOKE) == (STOPPED,)
    assert not handover.is_over
    assert handover.handle(PAUSED) == (Unpin(PAUSED.block_ids), Resume())
    assert handover.is_over


def test_a_revoke_while_flushing_resumes_at_once() -> None:
    handover, push = flushing()
    assert handover.handle(REVOKE) == (Resume(),)
    assert handover.handle(landed(push)) == (Unpin((14,)), STOPPED)


def test_a_revoke_that_crosses_the_commit_resumes() -> None:
    handover = committing()
    assert handover.handle(REVOKE) == (Resume(), STOPPED)
    assert handover.handle(REFUSED) == ()


def test_a_failed_push_is_abandoned() -> None:
    handover, push = pushing()
    assert handover.handle(PushFailed(push.push_id)) == (Unpin((12, 13)), ABANDON)
    assert handover.state is HandoverState.ALONE
    handover, push = flushing()
    assert handover.handle(PushFailed(push.push_id)) == (Unpin((14,)), Resume(), ABANDON)


def test_a_sequence_that_ends_here_is_abandoned() -> None:
    assert handover_after(GRANT).handle(FinishedHere()) == (ABANDON,)
    assert handover_after(FinishedHere()).handle(GRANT) == (ABANDON,)
    handover, push = pushing()
    assert handover.handle(FinishedHere()) == ()
    assert handover.handle(landed(push)) == (Unpin((12, 13)), ABANDON)


def test_a_sequence_that_ends_while_pausing_waits_for_the_engines_answer() -> None:
    handover = pausing()
    assert handover.handle(FinishedHere()) == (ABANDON,)
    assert not handover.is_over
    assert handover.handle(NotPaused()) == ()
    assert handover.is_over


@pytest.mark.parametrize("with_grant", [True, False])
def test_a_lost_link_before_the_commit_leaves_the_sequence_here(with_grant: bool) -> None:
    handover = handover_after(*([GRANT] if with_grant else []))
    assert handover.handle(LinkLost()) == ()
    assert handover.state is HandoverState.ALONE
    assert handover.handle(REVOKE) == (STOPPED,)


def test_a_lost_link_while_flushing_resumes_and_confirms_on_the_next_link() -> None:
    handover, push = flushing()
    assert handover.handle(LinkLost()) == (Resume(),)
    assert handover.handle(REVOKE) == ()
    assert handover.handle(landed(push)) == (Unpin((14,)), STOPPED)


def test_a_lost_link_after_the_commit_is_reported_as_lost() -> None:
    handover = committing()
    assert handover.handle(LinkLost()) == (Release(), ReportLost())
    assert handover.state is HandoverState.LOST and handover.is_over
    assert handover.handle(TAKEN) == handover.handle(LinkLost()) == ()
    assert handover.handle(REVOKE) == (STOPPED,)


def test_a_cancelled_sequence_is_released_and_abandoned() -> None:
    assert Handover(TRANSFER, POLICY).handle(Cancelled()) == (Release(),)
    handover, push = pushing()
    assert handover.handle(Cancelled()) == (Release(),)
    assert handover.handle(landed(push)) == (Unpin((12, 13)), ABANDON)
    assert handover.state is HandoverState.CANCELLED
    assert handover.handle(Cancelled()) == ()


def test_a_paused_sequence_that_is_cancelled_is_not_resumed() -> None:
    handover = pausing()
    assert handover.handle(Cancelled()) == (Release(), ABANDON)
    assert handover.handle(PAUSED) == (Unpin(PAUSED.block_ids),)
    handover, push = flushing()
    assert handover.handle(Cancelled()) == (Release(),)
    assert handover.handle(PushFailed(push.push_id)) == (Unpin((14,)), ABANDON)


def test_a_sequence_cancelled_after_its_commit_is_released() -> None:
    handover = committing()
    assert handover.handle(Cancelled()) == (Release(),)
    assert handover.handle(TAKEN) == ()


def test_a_sequence_cancelled_while_stopping_is_released_once() -> None:
    handover, push = pushing()
    handover.handle(REVOKE)
    assert handover.handle(Cancelled()) == (Release(),)
    assert handover.handle(Cancelled()) == ()
    assert handover.handle(landed(push)) == (Unpin((12, 13)), STOPPED)
    assert handover.state is HandoverState.CANCELLED


# ---------------------------------------------------------------- noise


def test_a_preempted_sequence_gives_up_pins_and_pushes_again_what_is_missing() -> None:
    handover, push = pushing()
    handover.handle(BlocksComputed(4, (14,)))
    assert handover.handle(Preempted()) == (Unpin((14,)),)
    assert handover.handle(landed(push)) == (Unpin((12, 13)),)
    assert handover.handle(BlocksComputed(0, (30, 31, 32, 33, 34))) == (
        Unpin((30, 31, 32, 33)),
        Push(2, HANDLE, (34,), (74,)),
    )


def test_a_second_grant_changes_nothing() -> None:
    handover, _ = pushing()
    assert handover.handle(GRANT) == ()
    forged = Grant(TRANSFER, OTHER_HANDLE, 0, [1, 2], [1, 1])
    assert handover.handle(forged) == (Send(Abandon(TRANSFER, OTHER_HANDLE)),)
    assert handover.state is HandoverState.PUSHING


def test_a_revoke_of_another_handle_changes_nothing() -> None:
    handover, _ = pushing()
    stopped = Send(Stopped(OTHER_HANDLE))
    assert handover.handle(Revoke(TRANSFER, OTHER_HANDLE)) == (stopped,)
    assert handover.state is HandoverState.PUSHING


def test_a_reply_that_is_early_or_anothers_changes_nothing() -> None:
    handover, _ = flushing()
    assert handover.handle(TAKEN) == ()
    handover = committing()
    assert handover.handle(CommitReply(OTHER_HANDLE, taken=True, recomputes=False)) == ()
    assert handover.state is HandoverState.COMMITTING


def test_the_end_of_an_unknown_push_changes_nothing() -> None:
    handover, push = pushing()
    assert handover.handle(PushFailed(push.push_id + 1)) == ()
    assert handover.handle(landed(push)) == (Unpin((12, 13)),)
    assert handover.handle(landed(push)) == ()
