"""How a handover ends otherwise, and late, repeated, reordered and forged events."""

import pytest

from legato.cluster.transfer.sender import Handover, HandoverState
from legato.cluster.transfer.sender_events import (
    BlocksComputed,
    Cancelled,
    FinishedHere,
    LinkLost,
    NotPaused,
    Preempted,
    Push,
    PushFailed,
    Release,
    ReportLost,
    Resume,
    Send,
    Unpin,
)
from legato.cluster.wire import Abandon, CommitReply, Deny, Grant, Revoke, Stopped
from legato.tests.cluster.transfer.handovers import (
    ABANDON,
    GRANT,
    HANDLE,
    OTHER_HANDLE,
    PAUSED,
    POLICY,
    REFUSED,
    REVOKE,
    STOPPED,
    TAKEN,
    TRANSFER,
    committing,
    flushing,
    handover_after,
    landed,
    pausing,
    pushing,
)


def test_a_denied_sequence_stays_here() -> None:
    handover = handover_after(BlocksComputed(0, (10,)))
    assert handover.handle(Deny(TRANSFER)) == (Unpin((10,)), Resume())
    assert handover.state is HandoverState.ALONE and handover.is_over
    assert handover.handle(BlocksComputed(1, (11,))) == (Unpin((11,)),)


def test_a_denial_after_the_grant_is_not_believed() -> None:
    handover, _ = pushing()
    assert handover.handle(Deny(TRANSFER)) == ()
    assert handover.state is HandoverState.PUSHING


def test_a_revoked_sequence_stays_here() -> None:
    handover = handover_after(GRANT)
    assert handover.handle(REVOKE) == (Resume(), STOPPED)
    assert handover.state is HandoverState.ALONE
    assert handover.handle(REVOKE) == (STOPPED,)


def test_stopped_is_said_only_when_the_push_under_way_has_ended() -> None:
    handover, push = pushing()
    assert handover.handle(BlocksComputed(4, (14,))) == ()
    assert handover.handle(REVOKE) == (Unpin((14,)), Resume())
    assert handover.state is HandoverState.STOPPING and not handover.is_over
    assert handover.handle(landed(push)) == (Unpin((12, 13)), STOPPED)
    assert handover.is_over


def test_a_revoke_before_its_grant_makes_the_grant_worthless() -> None:
    handover = Handover(TRANSFER, POLICY)
    assert handover.handle(REVOKE) == (Resume(), STOPPED)
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
    assert handover.handle(PushFailed(push.push_id)) == (Unpin((12, 13)), Resume(), ABANDON)
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
    assert handover.handle(LinkLost()) == (Resume(),)
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
