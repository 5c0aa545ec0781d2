"""The giving half of handovers on a worker: gives each Handover its hands and ears.

    step results --BlocksComputed, FirstToken--> Handover --Push--> transport --> D's pool
    D's link     --Grant, CommitReply, Revoke-->          --Pause, Resume, Release--> engine
                                                          --Commit, Abandon, Stopped--> D's link

The Handover decides; this module carries its actions out and brings the outcomes back. A Grant
that comes before its Submit waits here for it.
"""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from functools import partial

import msgspec
import ray

from legato.cluster.channel import Stream
from legato.cluster.engine_loop import EngineLoop
from legato.cluster.live_request import LiveRequest
from legato.cluster.membership import NAMESPACE
from legato.cluster.rates import Rates
from legato.cluster.transfer.choose import choose_transport
from legato.cluster.transfer.early_grants import EarlyGrants
from legato.cluster.transfer.local_pool import LocalPool
from legato.cluster.transfer.object_store import RayBlockReceiver
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
from legato.cluster.transfer.transport import PoolDescriptor, Transport
from legato.cluster.wire import (
    CommitReply,
    Deny,
    Grant,
    HandedOver,
    Heartbeat,
    Hello,
    Peer,
    Revoke,
    Stopped,
    ToPrefill,
)
from legato.engine.batch import StepResult
from legato.engine.core import EngineCore
from legato.engine.errors import EngineError, LegatoError, WorkerLostError
from legato.engine.handover import LeavingProgress, PausedSequence

logger = logging.getLogger(__name__)

# A sequence stops here once what is left to push moves within this time, by the measured rate.
MAX_STALL_S = 0.005
# For how long a Grant waits for its Submit.
EARLY_S = 10.0
# For how long a Commit waits for its answer; a sequence stands still meanwhile.
COMMIT_S = 5.0


@dataclass(slots=True, eq=False)
class _DecodeLink:
    """The stream from one decode worker, and the road to its pool."""

    stream: Stream[ToPrefill]
    worker: str = ""  # its name; empty before its Hello
    transport: "asyncio.Task[Transport] | None" = None  # None: before its Hello
    transport_name: str | None = None  # None: before it is open
    pushes: set[asyncio.Task[None]] = field(default_factory=set)

    async def close(self) -> None:
        """Lets go of the peer's pool, once no push uses it.

        A push to a host that is out of reach would end when Ray gives the host up, in a minute.
        """
        await asyncio.sleep(0)  # a task that is cancelled before its first step does nothing at all
        for push in self.pushes:
            push.cancel()
        await asyncio.gather(*self.pushes)
        if self.transport is not None:
            self.transport.cancel()
            with contextlib.suppress(asyncio.CancelledError, EngineError):
                (await self.transport).close()


@dataclass(slots=True, eq=False)
class _Giving:
    """One handover under way."""

    live: LiveRequest
    seq_id: int
    transfer: bytes
    handover: Handover
    started: float
    link: _DecodeLink | None = None  # None: before the Grant
    handle: bytes | None = None  # of the reservation
    reserve_s: float = 0.0  # from the start to the Grant
    committing_since: float | None = None


class HandoverSource:
    """Owner of the sequences that leave this worker."""

    def __init__(self, engine: EngineLoop, pool: LocalPool, rates: Rates) -> None:
        self._engine = engine
        self._pool = pool
        self._rates = rates
        self._by_transfer: dict[bytes, _Giving] = {}
        self._by_handle: dict[bytes, _Giving] = {}
        self._by_seq: dict[int, _Giving] = {}
        self._early = EarlyGrants(EARLY_S)
        self._links: dict[str, _DecodeLink] = {}  # by the decode worker's name, after its Hello
        self.num_handed_over = 0

    @property
    def transports(self) -> dict[str, str]:
        """By the decode worker's name: how KV goes to it."""
        names = ((worker, link.transport_name) for worker, link in self._links.items())
        return {worker: name for worker, name in names if name is not None}

    # ------------------------------------------------------------------ requests

    def begin(self, live: LiveRequest, seq_id: int, decode: Peer) -> None:
        """The sequence is in the engine and is to leave it for a decode worker."""
        transfer, decode_worker = decode.transfer, decode.worker
        handover = Handover(transfer, self._policy())
        giving = _Giving(live, seq_id, transfer, handover, time.monotonic())
        self._by_transfer[transfer] = giving
        self._by_seq[seq_id] = giving
        grant = self._early.claim(transfer, decode_worker)
        if grant is not None:
            self._on_transfer_message(self._links[decode_worker], grant)

    def _policy(self) -> HandoverPolicy:
        return HandoverPolicy(
            self._pool.block_size,
            self._pool.descriptor.bytes_per_block,
            max_bytes_left=int(self._rates.transfer_bytes_per_s * MAX_STALL_S),
        )

    def cancel(self, seq_id: int) -> bool:
        """The router wants the sequence no more; False if it is not on its way out."""
        giving = self._by_seq.get(seq_id)
        if giving is None:
            return False
        self._feed(giving, Cancelled())
        return True

    def after_step(self, result: StepResult) -> None:
        """Looks for blocks that a step completed, first tokens and ends."""
        for progress in result.leaving:
            self._on_progress(progress)
        for output in result.outputs:
            giving = self._by_seq.get(output.seq_id)
            if giving is None:
                continue
            if output.finish_reason is not None:
                self._feed(giving, FinishedHere())
            elif output.timing is not None:
                self._feed(giving, FirstToken())

    def _on_progress(self, progress: LeavingProgress) -> None:
        giving = self._by_seq.get(progress.seq_id)
        block_ids = tuple(block.block_id for block in progress.blocks)
        paused = progress.paused
        if giving is None:  # it was told to stay meanwhile
            pins = block_ids + (paused.block_ids if paused is not None else ())
            self._engine.post(lambda core: core.unpin(pins))
            return
        if progress.was_preempted:
            self._feed(giving, Preempted())
        # First, for it has all blocks: they go out in one push.
        if paused is not None:
            self._on_paused(giving, paused)
        if block_ids:
            self._feed(giving, BlocksComputed(progress.blocks[0].index, block_ids))

    # ------------------------------------------------------------------ what a handover wants done

    def _feed(self, giving: _Giving, event: HandoverEvent) -> None:
        for action in giving.handover.handle(event):
            self._act(giving, action)
        if giving.handover.is_over:
            self._forget(giving)

    def _act(self, giving: _Giving, action: HandoverAction) -> None:
        seq_id = giving.seq_id
        match action:
            case Push():
                assert giving.link is not None, "a push follows a Grant"
                pushing = asyncio.create_task(self._push(giving, giving.link, action))
                giving.link.pushes.add(pushing)
                pushing.add_done_callback(giving.link.pushes.discard)
            case Unpin(block_ids):
                self._engine.post(lambda core: core.unpin(block_ids))
            case Pause():
                self._engine.request(
                    partial(_pause, seq_id), partial(self._on_paused, giving), _log_failure
                )
            case Resume():
                self._engine.post(lambda core: core.resume(seq_id))
            case Release():
                self._engine.post(lambda core: core.release(seq_id))
            case Send(message):
                if giving.link is not None:
                    giving.link.stream.send(message)
            case ReportHandedOver():
                self._report_handed_over(giving)
            case ReportLost():
                giving.live.fail(WorkerLostError("the handover was not answered"))

    def _report_handed_over(self, giving: _Giving) -> None:
        live, handover = giving.live, giving.handover
        self.num_handed_over += 1
        times = msgspec.structs.replace(
            live.times,
            reserve_s=giving.reserve_s,
            transfer_s=handover.transfer_s,
            transfer_bytes=handover.transfer_bytes,
        )
        live.stream.send(HandedOver(live.submit.request, times))
        live.end()

    def _on_paused(self, giving: _Giving, paused: PausedSequence | None) -> None:
        if paused is None:
            self._feed(giving, NotPaused())
            return
        self._feed(
            giving,
            Paused(paused.block_ids, paused.num_computed_tokens, paused.output_token_ids),
        )

    async def _push(self, giving: _Giving, link: _DecodeLink, push: Push) -> None:
        event: PushDone | PushFailed
        try:
            assert link.transport is not None, "a Grant follows a Hello"
            transport = await link.transport
            report = await transport.push(push.handle, push.src_block_ids, push.dst_block_ids)
        except asyncio.CancelledError:
            event = PushFailed(push.push_id)
        except EngineError as error:
            logger.warning("a push failed, the sequence stays here: %s", error)
            event = PushFailed(push.push_id)
        else:
            self._rates.add_transfer(report.num_bytes, report.seconds)
            event = PushDone(push.push_id, report)
        self._feed(giving, event)

    def _forget(self, giving: _Giving) -> None:
        self._by_transfer.pop(giving.transfer, None)
        self._by_seq.pop(giving.seq_id, None)
        self._engine.post(lambda core: core.stay(giving.seq_id))
        if giving.handle is not None:
            self._by_handle.pop(giving.handle, None)

    # ------------------------------------------------------------------ links

    async def serve(self, stream: Stream[ToPrefill]) -> None:
        """Follows the stream from a decode worker until it ends."""
        link = _DecodeLink(stream)
        try:
            await stream.run(partial(self._on_link_message, link))
        finally:
            for giving in list(self._by_transfer.values()):
                if giving.link is link:
                    self._feed(giving, LinkLost())
            self._early.link_lost(link.worker)
            if self._links.get(link.worker) is link:
                del self._links[link.worker]
            await link.close()

    def _on_link_message(self, link: _DecodeLink, message: ToPrefill) -> None:
        match message:
            case Hello(pool):
                link.worker = pool.worker
                self._links[pool.worker] = link
                link.transport = asyncio.create_task(self._open_road(link, pool))
            case Grant() | Deny() | Revoke():
                self._on_transfer_message(link, message)
            case CommitReply(handle):
                giving = self._by_handle.get(handle)
                if giving is not None:
                    self._feed(giving, message)
            case Heartbeat():
                pass

    def _on_transfer_message(self, link: _DecodeLink, message: Grant | Deny | Revoke) -> None:
        giving = self._by_transfer.get(message.transfer)
        if giving is not None:
            if isinstance(message, Grant) and giving.link is None:
                giving.link, giving.handle = link, message.handle
                giving.reserve_s = time.monotonic() - giving.started
                self._by_handle[message.handle] = giving
            self._feed(giving, message)
        elif isinstance(message, Grant):
            self._early.hold(link.worker, message, time.monotonic())
        elif isinstance(message, Revoke):
            self._early.revoke(message.transfer, link.worker)
            link.stream.send(Stopped(message.handle))

    async def _open_road(self, link: _DecodeLink, peer: PoolDescriptor) -> Transport:
        try:
            actor = await asyncio.to_thread(ray.get_actor, peer.worker, NAMESPACE)
            choice = await asyncio.to_thread(
                choose_transport, self._pool, peer, RayBlockReceiver(actor)
            )
        except (LegatoError, ValueError) as error:
            logger.error("no KV can be pushed to %s: %s", peer.worker, error)
            raise EngineError(str(error)) from error
        slower = f" ({choice.reason})" if choice.reason else ""
        logger.info("KV goes to %s through %s%s", peer.worker, choice.transport.name, slower)
        link.transport_name = choice.transport.name
        return choice.transport

    def tick(self) -> None:
        """To be called about once a second: gives up on what was waited for too long."""
        now = time.monotonic()
        for giving in list(self._by_transfer.values()):
            is_committing = giving.handover.state is HandoverState.COMMITTING
            giving.committing_since = (giving.committing_since or now) if is_committing else None
            if giving.committing_since is not None and now - giving.committing_since > COMMIT_S:
                self._feed(giving, LinkLost())
        for worker, abandon in self._early.expire(now):
            if worker in self._links:
                self._links[worker].stream.send(abandon)


def _pause(seq_id: int, core: EngineCore) -> PausedSequence | None:
    return core.pause(seq_id)


def _log_failure(error: Exception) -> None:
    logger.error("a handover command failed in the engine: %s", error)
