"""The transitions of a handover on its way to the end."""

from legato.cluster.transfer.sender import Handover, HandoverPolicy, HandoverState
from legato.cluster.transfer.sender_events import (
    BlocksComputed,
    Cancelled,
    FirstToken,
    LinkLost,
    NotPaused,
    Pause,
    Paused,
    Push,
    Release,
    ReportHandedOver,
    Resume,
    Send,
    Unpin,
)
from legato.cluster.wire import Commit, Deny, Grant
from legato.tests.cluster.transfer.handovers import (
    BLOCK_SIZE,
    GRANT,
    HANDLE,
    PAUSED,
    POLICY,
    REFUSED,
    TAKEN,
    TRANSFER,
    committing,
    digest_of,
    flushing,
    handover_after,
    landed,
    pausing,
    pushing,
)


def test_full_blocks_behind_the_prefix_hits_are_pushed_as_they_come() -> None:
    handover = handover_after(GRANT)
    assert handover.handle(BlocksComputed(0, (10, 11, 12))) == (
        Unpin((10, 11)),
        Push(1, HANDLE, (12,), (72,)),
    )


def test_a_sequence_at_its_first_token_goes_out_in_one_push() -> None:
    handover = handover_after(
        Grant(TRANSFER, HANDLE, first_block=3, block_ids=[73, 74], epochs=[2, 3])
    )
    wide = Handover(TRANSFER, HandoverPolicy(BLOCK_SIZE, bytes_per_block=100, max_bytes_left=300))
    wide.handle(GRANT)
    assert wide.handle(PAUSED) == (Unpin((10, 11)), Push(1, HANDLE, (12, 13, 14), (72, 73, 74)))
    assert wide.state is HandoverState.FLUSHING
    assert wide.handle(BlocksComputed(0, (10, 11, 12, 13))) == (Unpin((10, 11, 12, 13)),)
    assert wide.handle(FirstToken()) == ()
    # Where more is left than may stall a stream, it decodes here meanwhile.
    assert handover.handle(PAUSED) == (Unpin(PAUSED.block_ids), Resume())
    assert handover.state is HandoverState.PUSHING


def test_a_sequence_whose_first_token_comes_before_the_grant_goes_on_here() -> None:
    handover = Handover(TRANSFER, POLICY)
    assert handover.handle(PAUSED) == (Unpin(PAUSED.block_ids), Resume())
    assert handover.state is HandoverState.WAITING_GRANT
    handover.handle(BlocksComputed(0, (10, 11, 12)))
    assert handover.handle(GRANT) == (
        Unpin((10, 11)),
        Push(1, HANDLE, (12,), (72,)),
        Pause(),
    )


def test_a_sequence_that_stays_here_never_stands_still() -> None:
    handover = handover_after(Deny(TRANSFER))
    assert handover.handle(PAUSED) == (Unpin(PAUSED.block_ids), Resume())


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
