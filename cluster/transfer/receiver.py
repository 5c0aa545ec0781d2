"""The decode worker's side of all transfers: who may write to which blocks, and until when.

    open()        grant()           begin_commit()          finish_commit()
    ------> RESERVED -----> RECEIVING ----------> COMMITTED ---------------> RELEASED
               |               |   |                                           ^  ^
               |         abort |   | expire                                    |  |
               |   writer_lost |   |                                           |  |
               |               v   v                                           |  |
               |         ABORTED   EXPIRED ------------------------------------+  |
               |          quarantine      Stopped, Abandon, Commit, writer_dead   |
               +------------------------------------------------------------------+
                 abort, expire, writer_lost: nobody was told the handle yet

- RESERVED: blocks are set aside, the writer knows of nothing.
- RECEIVING: the Grant is out. A one-sided write may land at any moment, unseen.
- COMMITTED: the writer says that all has landed; the digests are being computed. An abort waits.
- ABORTED, EXPIRED: nobody waits for the KV any more, but a write may still be on its way, so the
  fresh blocks stay in quarantine until the writer says that it has stopped, or is known dead.
- RELEASED: the blocks belong to the sequence or went back; only the last answers are remembered,
  for a Commit that arrives twice.

Every method returns the actions that it makes due, in order. The table knows no block pool, no
clock, no thread and no network; it is driven from one thread. What a peer sends about a handle
that is unknown, over already or another writer's is ignored and counted.
"""

import secrets
from collections import Counter, OrderedDict
from collections.abc import Sequence

from legato.cluster.transfer.receiver_actions import (
    Adopt,
    Anomaly,
    Drop,
    DropReason,
    FreeBlocks,
    LeasePolicy,
    ReceiverAction,
    ReservedBlocks,
    Send,
    Verify,
)
from legato.cluster.transfer.reservation import QUARANTINE, Reservation, ReservationState
from legato.cluster.wire import (
    Abandon,
    Commit,
    CommitReply,
    Deny,
    Grant,
    Heartbeat,
    Revoke,
    Stopped,
    ToDecode,
)

Actions = tuple[ReceiverAction, ...]


DEFAULT_LEASE = LeasePolicy()


class ReservationTable:
    """Owner of every reservation on a decode worker."""

    def __init__(
        self, block_size: int, lease: LeasePolicy = DEFAULT_LEASE, num_remembered: int = 4096
    ) -> None:
        self._block_size = block_size
        self._lease = lease
        self._num_remembered = num_remembered
        self._live: dict[bytes, Reservation] = {}  # by handle
        self._handle_of: dict[bytes, bytes] = {}  # transfer -> handle, outside quarantine
        self._answers: OrderedDict[bytes, Send] = OrderedDict()  # of released handles
        # All are there from the start: what first appears as 1 has not risen, to Prometheus.
        self.counters: Counter[str] = Counter(dict.fromkeys(Anomaly, 0))

    @property
    def num_reserved_blocks(self) -> int:
        """Fresh blocks that wait for KV."""
        return self._count_blocks(quarantined=False)

    @property
    def num_quarantined_blocks(self) -> int:
        """Fresh blocks that nobody waits for, but that somebody may still write to."""
        return self._count_blocks(quarantined=True)

    def _count_blocks(self, quarantined: bool) -> int:
        return sum(
            len(reservation.blocks.fresh)
            for reservation in self._live.values()
            if (reservation.state in QUARANTINE) == quarantined
        )

    # ------------------------------------------------------------------ this worker's own doing

    def open(self, transfer: bytes, writer: str, blocks: ReservedBlocks, now: float) -> bytes:
        """Sets blocks aside for a sequence that `writer` computes; returns the new handle.

        Raises:
            ValueError: the transfer has a reservation already.
        """
        if transfer in self._handle_of:
            raise ValueError(f"transfer {transfer.hex()} has a reservation already")
        handle = secrets.token_bytes(16)
        last_expiry = now + self._lease.longest_s
        expires_at = min(now + self._lease.renewal_s, last_expiry)
        self._live[handle] = Reservation(transfer, handle, writer, blocks, expires_at, last_expiry)
        self._handle_of[transfer] = handle
        return handle

    def grant(self, handle: bytes) -> Grant | None:
        """The Grant to be sent now; None if the reservation has ended meanwhile.

        From here on the blocks count as writable by the writer, whether or not the Grant arrives.
        """
        reservation = self._live.get(handle)
        if reservation is None or reservation.state is not ReservationState.RESERVED:
            return None
        reservation.state = ReservationState.RECEIVING
        blocks = reservation.blocks
        return Grant(
            transfer=reservation.transfer,
            handle=handle,
            first_block=len(blocks.cached),
            block_ids=list(blocks.fresh),
            epochs=list(blocks.epochs),
        )

    def abort(self, transfer: bytes) -> Actions:
        """The sequence is wanted no more on this worker. Unknown transfers are fine."""
        handle = self._handle_of.get(transfer)
        if handle is None:
            return ()
        reservation = self._live[handle]
        if reservation.state is ReservationState.COMMITTED:
            reservation.is_dropped = True  # its blocks are being read: finish_commit frees them
            return ()
        return self._withdraw(reservation, ReservationState.ABORTED)

    def expire(self, now: float) -> Actions:
        """Ends the reservations whose lease has run out; to be called about once a second."""
        actions: list[ReceiverAction] = []
        for reservation in self._waiting():
            if reservation.expires_at <= now:
                actions += self._withdraw(reservation, ReservationState.EXPIRED)
                actions.append(Drop(reservation.transfer, DropReason.EXPIRED))
        return tuple(actions)

    def begin_write(self, writer: str, handle: bytes, block_ids: Sequence[int]) -> bool:
        """Whether data that `writer` sent may be copied into these blocks now.

        For transports whose bytes pass through this process. After True the copy may run on
        another thread, the blocks stay where they are, and `end_write` must follow.
        """
        reservation = self._find(writer, handle)
        if reservation is None:
            return False
        is_receiving = reservation.state is ReservationState.RECEIVING
        if not is_receiving or not set(block_ids) <= set(reservation.blocks.fresh):
            self.counters[Anomaly.WRITE_REFUSED] += 1
            return False
        reservation.num_local_writes += 1
        return True

    def end_write(self, handle: bytes) -> Actions:
        """The copy that `begin_write` allowed is over."""
        reservation = self._live[handle]
        reservation.num_local_writes -= 1
        return self._settle(reservation)

    # ------------------------------------------------------------------ what the writer says

    def on_message(self, writer: str, message: ToDecode, now: float) -> Actions:
        """Dispatches a message that came over the link from `writer`."""
        match message:
            case Commit():
                return self.begin_commit(writer, message, now)
            case Abandon() | Stopped():
                return self.on_stopped(writer, message.handle)
            case Heartbeat():
                self.heartbeat(writer, now)
                return ()

    def heartbeat(self, writer: str, now: float) -> None:
        """Renews the leases of all reservations of `writer`."""
        for reservation in self._waiting(writer):
            renewed = now + self._lease.renewal_s
            reservation.expires_at = min(renewed, reservation.last_expiry)

    def on_stopped(self, writer: str, handle: bytes) -> Actions:
        """The writer writes no more to the blocks of `handle` (Stopped or Abandon)."""
        reservation = self._find(writer, handle)
        if reservation is None:
            return ()
        if reservation.state is ReservationState.COMMITTED:
            self.counters[Anomaly.OUT_OF_ORDER] += 1  # its Commit has said so before, and more
            return ()
        reservation.has_writer_stopped = True
        if reservation.state in QUARANTINE:
            return self._settle(reservation)
        return self._end_by_writer(reservation)

    def begin_commit(self, writer: str, commit: Commit, now: float) -> Actions:
        """The writer says that all KV has landed and hands over the sequence."""
        answered = self._answers.get(commit.handle)
        if answered is not None and answered.writer == writer:
            self.counters[Anomaly.DUPLICATE] += 1
            return (answered,)
        reservation = self._find(writer, commit.handle)
        if reservation is None:
            is_unknown = commit.handle not in self._live and answered is None
            return (_refuse(writer, commit.handle),) if is_unknown else ()
        if reservation.state is ReservationState.COMMITTED:
            self.counters[Anomaly.DUPLICATE] += 1
            return ()
        reservation.has_writer_stopped = True
        if reservation.state in QUARANTINE:
            return (*self._settle(reservation), _refuse(writer, commit.handle))
        if reservation.num_local_writes > 0:
            # Not all has landed: a faulty writer. It keeps the sequence, we keep our hands off.
            return (*self._end_by_writer(reservation), _refuse(writer, commit.handle))
        reservation.commit = commit
        fault = reservation.fault_of(commit, self._block_size, now)
        reservation.state = ReservationState.COMMITTED
        if fault is not None:
            return self._adopt(reservation, commit, fault)
        return (Verify(commit.handle, tuple(commit.block_ids)),)

    def finish_commit(self, handle: bytes, digests: Sequence[int] | None) -> Actions:
        """Ends what `begin_commit` began. `digests`: of the blocks that `Verify` named, in their
        order; None: they could not be computed, and the KV is not trusted."""
        reservation = self._live[handle]
        commit = reservation.commit
        assert reservation.state is ReservationState.COMMITTED and commit is not None
        if reservation.is_dropped:
            refusal = _refuse(reservation.writer, handle)
            self._release(reservation, refusal)
            return (FreeBlocks(reservation.block_ids), refusal)
        matches = digests is not None and list(digests) == commit.digests
        return self._adopt(reservation, commit, None if matches else "digest")

    def link_restored(self, writer: str) -> Actions:
        """A new link to `writer` is up: ask again whether it has stopped writing."""
        return tuple(
            Send(writer, Revoke(reservation.transfer, reservation.handle))
            for reservation in self._live.values()
            if reservation.writer == writer and reservation.state in QUARANTINE
        )

    def writer_lost(self, writer: str) -> Actions:
        """The link to `writer` is down; the writer may live and write on."""
        actions: list[ReceiverAction] = []
        for reservation in self._waiting(writer):
            actions += self._withdraw(reservation, ReservationState.ABORTED)
            actions.append(Drop(reservation.transfer, DropReason.WRITER_LOST))
        return tuple(actions)

    def writer_dead(self, writer: str) -> Actions:
        """The process of `writer` is gone for certain: nothing of it can land any more.

        To be called again if reservations were granted to it since, in ignorance of its death.
        """
        actions = list(self.writer_lost(writer))
        for reservation in list(self._live.values()):
            if reservation.writer == writer and reservation.state in QUARANTINE:
                reservation.has_writer_stopped = True
                actions += self._settle(reservation)
        return tuple(actions)

    # ------------------------------------------------------------------ transitions

    def _find(self, writer: str, handle: bytes) -> Reservation | None:
        """The live reservation of `handle`, if it is the writer's and the writer was told."""
        reservation = self._live.get(handle)
        if reservation is None:
            answered = self._answers.get(handle)
            is_late = answered is not None and answered.writer == writer
            self.counters[Anomaly.DUPLICATE if is_late else Anomaly.UNKNOWN_HANDLE] += 1
            return None
        if reservation.writer != writer or reservation.state is ReservationState.RESERVED:
            self.counters[Anomaly.FORGED] += 1
            return None
        return reservation

    def _waiting(self, writer: str | None = None) -> list[Reservation]:
        """Reservations whose KV is still to come."""
        return [
            reservation
            for reservation in self._live.values()
            if reservation.state in (ReservationState.RESERVED, ReservationState.RECEIVING)
            and writer in (None, reservation.writer)
        ]

    def _adopt(self, reservation: Reservation, commit: Commit, fault: str | None) -> Actions:
        """COMMITTED -> RELEASED, the blocks to the sequence."""
        num_computed_tokens = commit.num_computed_tokens
        if fault is not None:
            self.counters[Anomaly(f"refused_{fault}")] += 1
            num_computed_tokens = len(reservation.blocks.cached) * self._block_size
        reply = CommitReply(reservation.handle, taken=True, recomputes=fault is not None)
        answer = Send(reservation.writer, reply)
        self._release(reservation, answer)
        adopt = Adopt(
            transfer=reservation.transfer,
            block_ids=reservation.block_ids,
            num_computed_tokens=num_computed_tokens,
            output_token_ids=tuple(commit.output_token_ids),
            refusal=fault,
        )
        return (adopt, answer)

    def _withdraw(self, reservation: Reservation, state: ReservationState) -> Actions:
        """RESERVED or RECEIVING -> quarantine, and on if nobody can write."""
        was_told = reservation.state is ReservationState.RECEIVING
        message = (
            Revoke(reservation.transfer, reservation.handle)
            if was_told
            else Deny(reservation.transfer)
        )
        reservation.has_writer_stopped = not was_told
        return (*self._quarantine(reservation, state), Send(reservation.writer, message))

    def _end_by_writer(self, reservation: Reservation) -> Actions:
        """RECEIVING -> quarantine (left at once unless a copy of our own is under way)."""
        drop = Drop(reservation.transfer, DropReason.WRITER_GOES_ON)
        return (*self._quarantine(reservation, ReservationState.ABORTED), drop)

    def _quarantine(self, reservation: Reservation, state: ReservationState) -> Actions:
        reservation.state = state
        del self._handle_of[reservation.transfer]
        # The writer was never told of the prefix hits, so nothing holds them back.
        cached = reservation.blocks.cached
        freed: Actions = (FreeBlocks(cached),) if cached else ()
        return (*freed, *self._settle(reservation))

    def _settle(self, reservation: Reservation) -> Actions:
        """Quarantine -> RELEASED, the blocks to the pool, once nobody can write any more."""
        can_be_written = not reservation.has_writer_stopped or reservation.num_local_writes > 0
        if reservation.state not in QUARANTINE or can_be_written:
            return ()
        self._release(reservation, _refuse(reservation.writer, reservation.handle))
        fresh = reservation.blocks.fresh
        return (FreeBlocks(fresh),) if fresh else ()

    def _release(self, reservation: Reservation, answer: Send) -> None:
        del self._live[reservation.handle]
        if self._handle_of.get(reservation.transfer) == reservation.handle:
            del self._handle_of[reservation.transfer]
        self._answers[reservation.handle] = answer
        if len(self._answers) > self._num_remembered:
            self._answers.popitem(last=False)


def _refuse(writer: str, handle: bytes) -> Send:
    return Send(writer, CommitReply(handle, taken=False, recomputes=False))
