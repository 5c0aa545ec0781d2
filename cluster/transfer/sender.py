"""The prefill worker's side of one transfer: from a Submit to a sequence that runs elsewhere.

                          Paused at the first token, little left
                              .------------------------------------------------.
                    Grant     |             little left at last                v
    WAITING_GRANT ---------> PUSHING -------------------------> PAUSING ------> FLUSHING
          |                   |   ^                             |   |  Paused      | all has landed:
          |                   |   +-----------------------------+   |              v Commit
          |                   |              NotPaused              |          COMMITTING
          |                   |                                     |              |
          v                   v                                     v              v
     Deny, Revoke, FinishedHere, PushFailed, LinkLost, Cancelled         CommitReply, Revoke,
          |                   (a push under way?)                        LinkLost, Cancelled
          |                   no |         | yes                              |
          v                      v         v                                  v
        ALONE, CANCELLED  <-----------  STOPPING                DONE, ALONE, LOST, CANCELLED

- WAITING_GRANT, PUSHING: the sequence stands still by itself at its first token. If D is not ready
  then, or the link is slow, it is resumed and decodes here: no token waits for a transfer.
- PUSHING: full blocks go out while the next ones are computed.
- FLUSHING: the sequence stands still at a step boundary; its last, partly filled block goes out.
- STOPPING: the way is clear, but a push is under way: Stopped or Abandon must wait for it.
- DONE: the decode worker has the sequence. ALONE: it goes on, or ended, here. LOST: after a Commit
  without an answer nobody here can know whose it is. CANCELLED: nobody wants it.

A handover knows no engine, no tensor, no clock and no network: `handle(event)` returns the actions
that the event makes due, in order. It must be kept until `is_over`. A Revoke that comes later is to
be answered with Stopped, a Grant with Abandon.
"""

from dataclasses import dataclass
from enum import StrEnum

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
from legato.cluster.wire import (
    Abandon,
    Commit,
    CommitReply,
    Deny,
    Grant,
    Revoke,
    Stopped,
)

Actions = tuple[HandoverAction, ...]


class HandoverState(StrEnum):
    """See the module's drawing."""

    WAITING_GRANT = "waiting_grant"
    PUSHING = "pushing"
    PAUSING = "pausing"
    FLUSHING = "flushing"
    COMMITTING = "committing"
    STOPPING = "stopping"
    DONE = "done"
    ALONE = "alone"
    LOST = "lost"
    CANCELLED = "cancelled"


ENDS = (HandoverState.DONE, HandoverState.ALONE, HandoverState.LOST, HandoverState.CANCELLED)
OPEN = (
    HandoverState.WAITING_GRANT,
    HandoverState.PUSHING,
    HandoverState.PAUSING,
    HandoverState.FLUSHING,
)


@dataclass(frozen=True, slots=True)
class HandoverPolicy:
    """When to stop a sequence here: at most `max_bytes_left` are still to be pushed then."""

    block_size: int  # in tokens
    bytes_per_block: int
    max_bytes_left: int


class Handover:
    """One transfer on the prefill worker."""

    def __init__(self, transfer: bytes, policy: HandoverPolicy) -> None:
        self.state = HandoverState.WAITING_GRANT
        self.transfer_bytes = 0
        self.transfer_s = 0.0
        self._transfer = transfer
        self._policy = policy
        self._grant: Grant | None = None
        self._pending: dict[int, int] = {}  # index in the block table -> pinned block to push
        self._in_flight: tuple[Push, tuple[int, ...]] | None = None  # and the indices
        self._digests: dict[int, int] = {}  # of what has landed, by index
        self._num_pushes = 0
        self._has_first_token = False
        self._is_pause_asked = False
        self._paused: Paused | None = None
        self._end = HandoverState.ALONE  # where STOPPING leads to, and what is said then
        self._farewell: Abandon | Stopped | None = None

    @property
    def is_over(self) -> bool:
        """Nothing is under way and no answer is awaited: the handover may be forgotten."""
        return self.state in ENDS and not self._is_pause_asked

    def handle(self, event: HandoverEvent) -> Actions:
        """Takes one event in; events that come late, twice or out of order are welcome."""
        match event:
            case Grant() | Deny() | Revoke() | CommitReply():
                return self._on_message(event)
            case BlocksComputed(first, block_ids):
                return (*self._keep(first, block_ids), *self._advance(may_pause=True))
            case FirstToken():
                self._has_first_token = True
                return self._advance(may_pause=True)
            case Preempted():
                return self._unpin_pending() if self._paused is None else ()
            case Paused():
                return self._on_paused(event)
            case NotPaused():
                return self._on_not_paused()
            case PushDone() | PushFailed():
                return self._on_push_end(event)
            case LinkLost():
                return self._on_link_lost()
            case FinishedHere():
                return self._on_finished_here()
            case Cancelled():
                return self._on_cancelled()

    # ------------------------------------------------------------------ events

    def _on_message(self, message: Grant | Deny | Revoke | CommitReply) -> Actions:
        match message:
            case Grant():
                return self._on_grant(message)
            case Deny():
                is_waiting = self.state is HandoverState.WAITING_GRANT
                return self._leave(HandoverState.ALONE, None) if is_waiting else ()
            case Revoke():
                return self._on_revoke(message)
            case CommitReply():
                return self._on_reply(message)

    def _on_grant(self, grant: Grant) -> Actions:
        if self._grant is not None and self._grant.handle == grant.handle:
            return ()
        if self.state is not HandoverState.WAITING_GRANT:
            return (Send(Abandon(self._transfer, grant.handle)),)
        self._grant = grant
        self.state = HandoverState.PUSHING
        outside = [index for index in self._pending if not self._is_granted(index)]
        unpinned = _unpin(tuple(self._pending.pop(index) for index in outside))
        return (*unpinned, *self._advance(may_pause=True))

    def _on_revoke(self, revoke: Revoke) -> Actions:
        stopped = Stopped(revoke.handle)
        if self._grant is not None and self._grant.handle != revoke.handle:
            return (Send(stopped),)
        if self.state is HandoverState.STOPPING:
            self._farewell = stopped
            return ()
        if self.state in ENDS:
            return (Send(stopped),)
        return self._leave(HandoverState.ALONE, stopped)

    def _on_reply(self, reply: CommitReply) -> Actions:
        is_ours = self._grant is not None and self._grant.handle == reply.handle
        if self.state is not HandoverState.COMMITTING or not is_ours:
            return ()
        if not reply.taken:
            return self._leave(HandoverState.ALONE, None)
        self.state = HandoverState.DONE
        return (Release(), ReportHandedOver())

    def _on_finished_here(self) -> Actions:
        self._has_first_token = True
        # Impossible while it is paused.
        return self._leave(HandoverState.ALONE, self._abandon()) if not self._paused else ()

    def _on_paused(self, paused: Paused) -> Actions:
        self._is_pause_asked = False
        self._has_first_token = True
        is_pushing = self.state is HandoverState.PUSHING
        is_wanted = self.state is HandoverState.PAUSING or (is_pushing and self._is_little(paused))
        if not is_wanted:
            return (*_unpin(paused.block_ids), *((Resume(),) if self._goes_on_here() else ()))
        self._paused = paused
        self.state = HandoverState.FLUSHING
        return (*self._keep(0, paused.block_ids), *self._advance(may_pause=False))

    def _on_not_paused(self) -> Actions:
        self._is_pause_asked = False
        if self.state is HandoverState.PAUSING:
            self.state = HandoverState.PUSHING
        return self._advance(may_pause=False)

    def _on_push_end(self, event: PushDone | PushFailed) -> Actions:
        if self._in_flight is None or self._in_flight[0].push_id != event.push_id:
            return ()
        push, indices = self._in_flight
        self._in_flight = None
        unpinned = _unpin(push.src_block_ids)
        if self.state is HandoverState.STOPPING:
            return (*unpinned, *self._close())
        if isinstance(event, PushFailed):
            return (*unpinned, *self._leave(HandoverState.ALONE, self._abandon()))
        self._digests.update(zip(indices, event.report.digests, strict=True))
        self.transfer_bytes += event.report.num_bytes
        self.transfer_s += event.report.seconds
        return (*unpinned, *self._advance(may_pause=True))

    def _on_link_lost(self) -> Actions:
        if self.state is HandoverState.COMMITTING:
            self.state = HandoverState.LOST
            return (Release(), ReportLost())
        # Nothing can be said now; on a new link the decode worker asks again with a Revoke.
        return self._leave(HandoverState.ALONE, None)

    def _on_cancelled(self) -> Actions:
        match self.state:
            case HandoverState.DONE | HandoverState.LOST | HandoverState.CANCELLED:
                return ()
            case HandoverState.STOPPING:
                is_first = self._end is not HandoverState.CANCELLED
                self._end = HandoverState.CANCELLED
                return (Release(),) if is_first else ()
            case HandoverState.COMMITTING | HandoverState.ALONE:
                self.state = HandoverState.CANCELLED
                return (Release(),)
            case _:
                return (Release(), *self._leave(HandoverState.CANCELLED, self._abandon()))

    # ------------------------------------------------------------------ pushing

    def _is_granted(self, index: int) -> bool:
        assert self._grant is not None
        first = self._grant.first_block
        return first <= index < first + len(self._grant.block_ids)

    def _keep(self, first: int, block_ids: tuple[int, ...]) -> Actions:
        """Takes over pins; gives back those that there is nothing to push of."""
        needless = []
        in_flight = self._in_flight[1] if self._in_flight else ()
        for index, block_id in enumerate(block_ids, first):
            is_known = index in self._digests or index in self._pending or index in in_flight
            has_room = self._grant is None or self._is_granted(index)
            if self.state in OPEN and has_room and not is_known:
                self._pending[index] = block_id
            else:
                needless.append(block_id)
        return _unpin(tuple(needless))

    def _advance(self, may_pause: bool) -> Actions:
        """Starts what has become possible: a push, the pause, the commit."""
        actions: list[HandoverAction] = []
        grant = self._grant
        if grant is None or self.state not in OPEN:
            return ()
        if self._pending and self._in_flight is None:
            actions.append(self._start_push(grant))
        if self.state is HandoverState.PUSHING and may_pause and self._is_little_left():
            self.state = HandoverState.PAUSING
            self._is_pause_asked = True
            actions.append(Pause())
        if self.state is HandoverState.FLUSHING and self._in_flight is None:
            assert self._paused is not None
            self.state = HandoverState.COMMITTING
            actions.append(Send(self._commit(grant, self._paused)))
        return tuple(actions)

    def _start_push(self, grant: Grant) -> Push:
        indices = tuple(sorted(self._pending))
        self._num_pushes += 1
        push = Push(
            push_id=self._num_pushes,
            handle=grant.handle,
            src_block_ids=tuple(self._pending[index] for index in indices),
            dst_block_ids=tuple(grant.block_ids[index - grant.first_block] for index in indices),
        )
        self._pending.clear()
        self._in_flight = (push, indices)
        return push

    def _is_little_left(self) -> bool:
        num_in_flight = len(self._in_flight[1]) if self._in_flight else 0
        return self._has_first_token and self._moves_soon(len(self._pending) + num_in_flight)

    def _is_little(self, paused: Paused) -> bool:
        indices = range(len(paused.block_ids))
        return self._moves_soon(
            sum(self._is_granted(index) and index not in self._digests for index in indices)
        )

    def _moves_soon(self, num_blocks: int) -> bool:
        return num_blocks * self._policy.bytes_per_block <= self._policy.max_bytes_left

    def _commit(self, grant: Grant, paused: Paused) -> Commit:
        """What the decode worker's pool holds now. Output beyond the granted blocks stays behind
        and is computed over there."""
        block_size = self._policy.block_size
        num_granted = grant.first_block + len(grant.block_ids)
        num_computed_tokens = min(paused.num_computed_tokens, num_granted * block_size)
        indices = range(grant.first_block, -(-num_computed_tokens // block_size))
        return Commit(
            transfer=self._transfer,
            handle=grant.handle,
            block_ids=grant.block_ids[: len(indices)],
            epochs=grant.epochs[: len(indices)],
            digests=[self._digests[index] for index in indices],
            num_computed_tokens=num_computed_tokens,
            output_token_ids=list(paused.output_token_ids),
        )

    # ------------------------------------------------------------------ leaving

    def _abandon(self) -> Abandon | None:
        return Abandon(self._transfer, self._grant.handle) if self._grant else None

    def _goes_on_here(self) -> bool:
        """Whether the engine may go on with the sequence on our behalf."""
        state = self._end if self.state is HandoverState.STOPPING else self.state
        return state in (HandoverState.WAITING_GRANT, HandoverState.PUSHING, HandoverState.ALONE)

    def _leave(self, end: HandoverState, farewell: Abandon | Stopped | None) -> Actions:
        """Pushes nothing more; ends now, or when the push under way has ended."""
        if self.state not in OPEN and self.state is not HandoverState.COMMITTING:
            return ()
        stands_still = self._paused is not None or not self._has_first_token  # now, or then
        is_held = stands_still and end is HandoverState.ALONE
        self._end, self._farewell = end, farewell
        self.state = HandoverState.STOPPING
        closing = self._close() if self._in_flight is None else ()
        return (*self._unpin_pending(), *((Resume(),) if is_held else ()), *closing)

    def _close(self) -> Actions:
        """STOPPING -> its end."""
        self.state = self._end
        return (Send(self._farewell),) if self._farewell else ()

    def _unpin_pending(self) -> Actions:
        unpinned = _unpin(tuple(self._pending.values()))
        self._pending.clear()
        return unpinned


def _unpin(block_ids: tuple[int, ...]) -> tuple[Unpin, ...]:
    return (Unpin(block_ids),) if block_ids else ()
