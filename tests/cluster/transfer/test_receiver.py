"""Every transition of the reservation table, with late, repeated, reordered and forged messages."""

import msgspec
import pytest
import torch

from legato.cluster.transfer.digest import block_digests
from legato.cluster.transfer.receiver import ReservationTable
from legato.cluster.transfer.receiver_actions import (
    Adopt,
    Drop,
    DropReason,
    FreeBlocks,
    LeasePolicy,
    ReservedBlocks,
    Send,
    Verify,
)
from legato.cluster.transfer.shared_memory import SharedMemoryTransport, SharedPool
from legato.cluster.wire import (
    Abandon,
    Commit,
    CommitReply,
    Deny,
    Grant,
    Heartbeat,
    Revoke,
    Stopped,
)

TRANSFER = b"t" * 16
WRITER = "prefill-0"
BLOCK_SIZE = 16
CACHED = (3, 4)
FRESH = (7, 5, 9)
EPOCHS = (1, 8, 2)
BLOCKS = ReservedBlocks(CACHED, FRESH, EPOCHS)
DIGESTS = [11, -12, 13]
NUM_COMPUTED_TOKENS = 4 * BLOCK_SIZE + 1  # two cached blocks, two full ones and one begun


@pytest.fixture
def table() -> ReservationTable:
    return ReservationTable(BLOCK_SIZE, LeasePolicy(renewal_s=10.0, longest_s=60.0))


def open_granted(table: ReservationTable, transfer: bytes = TRANSFER) -> Grant:
    grant = table.grant(table.open(transfer, WRITER, BLOCKS, now=0.0))
    assert grant is not None
    return grant


def commit_of(grant: Grant, num_blocks: int = 3) -> Commit:
    return Commit(
        transfer=grant.transfer,
        handle=grant.handle,
        block_ids=grant.block_ids[:num_blocks],
        epochs=grant.epochs[:num_blocks],
        digests=DIGESTS[:num_blocks],
        num_computed_tokens=NUM_COMPUTED_TOKENS - (3 - num_blocks) * BLOCK_SIZE,
        output_token_ids=[42],
    )


def reply(grant: Grant, taken: bool, recomputes: bool = False) -> Send:
    return Send(WRITER, CommitReply(grant.handle, taken, recomputes))


def revoke(grant: Grant) -> Send:
    return Send(WRITER, Revoke(grant.transfer, grant.handle))


def test_a_grant_names_the_fresh_blocks_behind_the_prefix_hits(table: ReservationTable) -> None:
    grant = open_granted(table)
    assert grant.first_block == 2
    assert grant.block_ids == list(FRESH)
    assert grant.epochs == list(EPOCHS)
    assert len(grant.handle) == 16
    assert table.num_reserved_blocks == 3


def test_handles_are_never_the_same(table: ReservationTable) -> None:
    handles = {table.open(bytes([i]), WRITER, BLOCKS, 0.0) for i in range(100)}
    assert len(handles) == 100


def test_a_transfer_is_reserved_once(table: ReservationTable) -> None:
    open_granted(table)
    with pytest.raises(ValueError, match="reservation already"):
        table.open(TRANSFER, WRITER, BLOCKS, 0.0)


def test_a_reservation_is_granted_once(table: ReservationTable) -> None:
    grant = open_granted(table)
    assert table.grant(grant.handle) is None


def test_a_commit_with_the_right_digests_is_adopted_whole(table: ReservationTable) -> None:
    grant = open_granted(table)
    assert table.on_message(WRITER, commit_of(grant), 1.0) == (Verify(grant.handle, FRESH),)
    adopt = Adopt(TRANSFER, CACHED + FRESH, NUM_COMPUTED_TOKENS, (42,), refusal=None)
    assert table.finish_commit(grant.handle, DIGESTS) == (adopt, reply(grant, taken=True))
    assert table.num_reserved_blocks == table.num_quarantined_blocks == 0
    assert not table.counters.total()


def test_a_commit_may_leave_granted_blocks_unused(table: ReservationTable) -> None:
    grant = open_granted(table)
    assert table.begin_commit(WRITER, commit_of(grant, 2), 1.0) == (
        Verify(grant.handle, FRESH[:2]),
    )
    adopt, _ = table.finish_commit(grant.handle, DIGESTS[:2])
    assert isinstance(adopt, Adopt) and adopt.block_ids == CACHED + FRESH


@pytest.mark.parametrize("digests", [[11, -12, 14], [11, -12], [], None])
def test_wrong_or_missing_digests_mean_recompute(
    table: ReservationTable, digests: list[int] | None
) -> None:
    grant = open_granted(table)
    table.begin_commit(WRITER, commit_of(grant), 1.0)
    adopt, answer = table.finish_commit(grant.handle, digests)
    assert adopt == Adopt(TRANSFER, CACHED + FRESH, 2 * BLOCK_SIZE, (42,), refusal="digest")
    assert answer == reply(grant, taken=True, recomputes=True)
    assert table.counters["refused_digest"] == 1


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        ("epochs", {"epochs": [1, 8, 3]}),
        ("epochs", {"epochs": [1, 8]}),
        ("blocks", {"block_ids": [5, 7, 9]}),
        ("blocks", {"block_ids": [7, 5, 10]}),
        ("count", {"block_ids": [7, 5]}),
        ("count", {"digests": [11, -12]}),
        ("count", {"num_computed_tokens": NUM_COMPUTED_TOKENS - 1}),
        ("count", {"num_computed_tokens": NUM_COMPUTED_TOKENS + BLOCK_SIZE}),
        ("count", {"num_computed_tokens": 0}),
    ],
)
def test_a_commit_that_does_not_match_is_recomputed_unread(
    table: ReservationTable, fault: str, changes: dict[str, list[int] | int]
) -> None:
    grant = open_granted(table)
    commit = commit_of(grant)
    fields = {name: getattr(commit, name) for name in commit.__struct_fields__}
    adopt, answer = table.begin_commit(WRITER, Commit(**{**fields, **changes}), 1.0)
    assert adopt == Adopt(TRANSFER, CACHED + FRESH, 2 * BLOCK_SIZE, (42,), refusal=fault)
    assert answer == reply(grant, taken=True, recomputes=True)
    assert table.counters[f"refused_{fault}"] == 1


@pytest.mark.parametrize("is_flipped", [False, True])
async def test_a_bit_that_flips_between_push_and_commit_means_recompute(
    table: ReservationTable, is_flipped: bool
) -> None:
    shared = SharedPool(10 * 32)
    pool = shared.buffer.view(torch.float32).view(10, 2, 4)
    grant = open_granted(table)
    transport = SharedMemoryTransport(torch.randn(3, 2, 4), shared.describe("decode-0", pool))
    report = await transport.push(grant.handle, [0, 1, 2], grant.block_ids)
    transport.close()
    shared.buffer[FRESH[1] * 32 + 5] ^= is_flipped
    commit = msgspec.structs.replace(commit_of(grant), digests=list(report.digests))
    (verify,) = table.begin_commit(WRITER, commit, 1.0)
    assert isinstance(verify, Verify)
    adopt, answer = table.finish_commit(grant.handle, block_digests(pool, verify.block_ids))
    assert isinstance(adopt, Adopt)
    assert adopt.refusal == ("digest" if is_flipped else None)
    assert adopt.num_computed_tokens == (2 * BLOCK_SIZE if is_flipped else NUM_COMPUTED_TOKENS)
    assert answer == reply(grant, taken=True, recomputes=is_flipped)
    shared.close()


def test_a_commit_after_its_lease_is_recomputed(table: ReservationTable) -> None:
    grant = open_granted(table)
    adopt, _ = table.begin_commit(WRITER, commit_of(grant), 10.0)
    assert isinstance(adopt, Adopt) and adopt.refusal == "expired"


def test_a_second_commit_during_verification_waits_for_the_first(table: ReservationTable) -> None:
    grant = open_granted(table)
    table.begin_commit(WRITER, commit_of(grant), 1.0)
    assert table.begin_commit(WRITER, commit_of(grant), 1.0) == ()
    assert len(table.finish_commit(grant.handle, DIGESTS)) == 2


def test_a_second_commit_after_the_first_gets_the_same_answer(table: ReservationTable) -> None:
    grant = open_granted(table)
    table.begin_commit(WRITER, commit_of(grant), 1.0)
    table.finish_commit(grant.handle, [0, 0, 0])
    again = table.begin_commit(WRITER, commit_of(grant), 2.0)
    assert again == (reply(grant, taken=True, recomputes=True),)
    assert table.begin_commit("prefill-1", commit_of(grant), 2.0) == ()


def test_a_commit_for_an_unknown_handle_is_not_taken(table: ReservationTable) -> None:
    grant = Grant(TRANSFER, b"h" * 16, 0, [1], [1])
    assert table.begin_commit(WRITER, commit_of(grant, 1), 1.0) == (reply(grant, taken=False),)


def test_answers_are_remembered_for_a_bounded_number_of_handles() -> None:
    table = ReservationTable(BLOCK_SIZE, LeasePolicy(), num_remembered=2)
    grants = []
    for i in range(3):
        grants.append(open_granted(table, bytes([i]) * 16))
        table.begin_commit(WRITER, commit_of(grants[-1]), 1.0)
        table.finish_commit(grants[-1].handle, DIGESTS)
    oldest, *others = (table.begin_commit(WRITER, commit_of(grant), 1.0) for grant in grants)
    assert oldest == (reply(grants[0], taken=False),)
    assert others == [(reply(grant, taken=True),) for grant in grants[1:]]


def test_an_abort_before_the_grant_frees_everything(table: ReservationTable) -> None:
    handle = table.open(TRANSFER, WRITER, BLOCKS, 0.0)
    deny = Send(WRITER, Deny(TRANSFER))
    assert table.abort(TRANSFER) == (FreeBlocks(CACHED), FreeBlocks(FRESH), deny)
    assert table.grant(handle) is None
    assert table.abort(TRANSFER) == ()


def test_an_abort_after_the_grant_keeps_fresh_blocks_until_the_writer_stopped(
    table: ReservationTable,
) -> None:
    grant = open_granted(table)
    assert table.abort(TRANSFER) == (FreeBlocks(CACHED), revoke(grant))
    assert (table.num_reserved_blocks, table.num_quarantined_blocks) == (0, 3)
    assert table.abort(TRANSFER) == ()
    assert table.on_message(WRITER, Stopped(grant.handle), 1.0) == (FreeBlocks(FRESH),)
    assert table.num_quarantined_blocks == 0
    assert table.on_message(WRITER, Stopped(grant.handle), 1.0) == ()
    assert (table.counters["duplicate"], table.counters["unknown_handle"]) == (1, 0)
    assert table.on_message("another", Stopped(grant.handle), 1.0) == ()
    assert table.on_message(WRITER, Stopped(bytes(16)), 1.0) == ()
    assert (table.counters["duplicate"], table.counters["unknown_handle"]) == (1, 2)


def test_a_transfer_can_be_reserved_again_while_its_old_blocks_are_in_quarantine(
    table: ReservationTable,
) -> None:
    old = open_granted(table)
    table.abort(TRANSFER)
    new = open_granted(table)
    assert table.on_stopped(WRITER, old.handle) == (FreeBlocks(FRESH),)
    assert table.abort(TRANSFER) == (FreeBlocks(CACHED), revoke(new))


def test_a_commit_that_crosses_an_abort_is_not_taken_and_ends_the_quarantine(
    table: ReservationTable,
) -> None:
    grant = open_granted(table)
    table.abort(TRANSFER)
    refused = reply(grant, taken=False)
    assert table.begin_commit(WRITER, commit_of(grant), 1.0) == (FreeBlocks(FRESH), refused)
    assert table.begin_commit(WRITER, commit_of(grant), 1.0) == (refused,)


def test_an_abort_during_verification_frees_nothing_before_its_end(
    table: ReservationTable,
) -> None:
    grant = open_granted(table)
    table.begin_commit(WRITER, commit_of(grant), 1.0)
    assert table.abort(TRANSFER) == ()
    assert table.expire(1000.0) == ()
    freed = FreeBlocks(CACHED + FRESH)
    assert table.finish_commit(grant.handle, DIGESTS) == (freed, reply(grant, taken=False))
    assert table.abort(TRANSFER) == ()


def test_the_writers_end_during_verification_changes_nothing(table: ReservationTable) -> None:
    grant = open_granted(table)
    table.begin_commit(WRITER, commit_of(grant), 1.0)
    assert table.on_stopped(WRITER, grant.handle) == ()
    assert table.writer_lost(WRITER) == ()
    assert table.writer_dead(WRITER) == ()
    adopt, _ = table.finish_commit(grant.handle, DIGESTS)
    assert isinstance(adopt, Adopt) and adopt.refusal is None


@pytest.mark.parametrize("is_abandon", [True, False])
def test_a_writer_that_needs_the_blocks_no_more_ends_the_reservation(
    table: ReservationTable, is_abandon: bool
) -> None:
    grant = open_granted(table)
    message = Abandon(TRANSFER, grant.handle) if is_abandon else Stopped(grant.handle)
    drop = Drop(TRANSFER, DropReason.WRITER_GOES_ON)
    assert table.on_message(WRITER, message, 1.0) == (FreeBlocks(CACHED), FreeBlocks(FRESH), drop)
    assert table.abort(TRANSFER) == ()


def test_a_lease_without_heartbeats_expires(table: ReservationTable) -> None:
    grant = open_granted(table)
    assert table.expire(9.9) == ()
    drop = Drop(TRANSFER, DropReason.EXPIRED)
    assert table.expire(10.0) == (FreeBlocks(CACHED), revoke(grant), drop)
    assert table.expire(10.0) == ()
    assert table.num_quarantined_blocks == 3
    assert table.on_stopped(WRITER, grant.handle) == (FreeBlocks(FRESH),)


def test_a_lease_that_was_never_granted_expires_without_quarantine(
    table: ReservationTable,
) -> None:
    table.open(TRANSFER, WRITER, BLOCKS, 0.0)
    assert FreeBlocks(FRESH) in table.expire(10.0)
    assert table.num_quarantined_blocks == 0


def test_heartbeats_of_its_writer_renew_a_lease_up_to_its_limit(table: ReservationTable) -> None:
    open_granted(table)
    table.heartbeat("prefill-1", 8.0)
    for now in (9.0, 18.0, 27.0, 36.0, 45.0, 54.0):
        table.on_message(WRITER, Heartbeat(), now)
        assert table.expire(now + 5.9) == ()
    assert table.expire(60.0) != ()


def test_a_lost_link_puts_what_is_not_committed_into_quarantine(table: ReservationTable) -> None:
    grant = open_granted(table)
    unsent = b"u" * 16
    table.open(unsent, WRITER, ReservedBlocks((), (1,), (1,)), 0.0)
    other = table.open(b"o" * 16, "prefill-1", ReservedBlocks((), (2,), (1,)), 0.0)
    actions = table.writer_lost(WRITER)
    assert [action for action in actions if not isinstance(action, Send)] == [
        FreeBlocks(CACHED),
        Drop(TRANSFER, DropReason.WRITER_LOST),
        FreeBlocks((1,)),
        Drop(unsent, DropReason.WRITER_LOST),
    ]
    assert (table.num_reserved_blocks, table.num_quarantined_blocks) == (1, 3)
    assert table.link_restored(WRITER) == (revoke(grant),)
    assert table.on_stopped(WRITER, grant.handle) == (FreeBlocks(FRESH),)
    assert table.link_restored(WRITER) == ()
    assert table.grant(other) is not None


def test_a_dead_writer_ends_its_quarantine(table: ReservationTable) -> None:
    aborted = open_granted(table)
    table.abort(TRANSFER)
    open_granted(table, b"w" * 16)
    freed = [
        action.block_ids for action in table.writer_dead(WRITER) if isinstance(action, FreeBlocks)
    ]
    assert sorted(freed) == sorted([CACHED, FRESH, FRESH])
    assert table.num_reserved_blocks == table.num_quarantined_blocks == 0
    assert table.on_stopped(WRITER, aborted.handle) == ()


def test_messages_of_another_writer_are_ignored_and_counted(table: ReservationTable) -> None:
    grant = open_granted(table)
    assert table.on_stopped("prefill-1", grant.handle) == ()
    assert table.on_message("prefill-1", commit_of(grant), 1.0) == ()
    assert not table.begin_write("prefill-1", grant.handle, [7])
    assert table.counters["forged"] == 3
    assert table.num_reserved_blocks == 3


def test_a_handle_that_was_not_told_yet_cannot_be_used(table: ReservationTable) -> None:
    handle = table.open(TRANSFER, WRITER, BLOCKS, 0.0)
    commit = commit_of(Grant(TRANSFER, handle, 2, list(FRESH), list(EPOCHS)))
    assert table.begin_commit(WRITER, commit, 1.0) == ()
    assert table.on_stopped(WRITER, handle) == ()
    assert not table.begin_write(WRITER, handle, [7])
    assert table.grant(handle) is not None


def test_data_is_copied_only_into_fresh_blocks_of_a_live_reservation(
    table: ReservationTable,
) -> None:
    grant = open_granted(table)
    assert table.begin_write(WRITER, grant.handle, [9, 7])
    assert table.end_write(grant.handle) == ()
    assert not table.begin_write(WRITER, grant.handle, [9, 3])
    table.abort(TRANSFER)
    assert not table.begin_write(WRITER, grant.handle, [9])
    assert not table.begin_write(WRITER, b"x" * 16, [9])


def test_blocks_stay_while_this_process_itself_copies_into_them(table: ReservationTable) -> None:
    grant = open_granted(table)
    assert table.begin_write(WRITER, grant.handle, [7])
    assert FreeBlocks(FRESH) not in table.writer_dead(WRITER)
    assert table.num_quarantined_blocks == 3
    assert table.end_write(grant.handle) == (FreeBlocks(FRESH),)


def test_a_commit_while_data_is_still_being_copied_is_not_taken(table: ReservationTable) -> None:
    grant = open_granted(table)
    assert table.begin_write(WRITER, grant.handle, [7])
    assert table.begin_commit(WRITER, commit_of(grant), 1.0) == (
        FreeBlocks(CACHED),
        Drop(TRANSFER, DropReason.WRITER_GOES_ON),
        reply(grant, taken=False),
    )
    assert table.end_write(grant.handle) == (FreeBlocks(FRESH),)
