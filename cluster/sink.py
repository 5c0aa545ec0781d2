"""The receiving half of handovers on a worker: gives the ReservationTable its hands and ears.

    Submit --reserve--> engine --Grant--> P   ... KV lands in our pool ...
    P --Commit--> verify the digests --adopt--> engine

The table decides; this module moves its actions to the engine's thread, to the links and to the
digest's thread, and brings the outcomes back. It opens the link to a prefill worker when the
first request names it, and again whenever it breaks, until the worker is known to be dead: what
lies in quarantine waits for the worker's word.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from functools import partial

from legato.cluster.channel import Connection
from legato.cluster.engine_loop import EngineLoop
from legato.cluster.live_request import LiveRequest
from legato.cluster.membership import is_dead
from legato.cluster.transfer.digest import BlockDigester
from legato.cluster.transfer.local_pool import LocalPool
from legato.cluster.transfer.object_store import BlockData, store_blocks
from legato.cluster.transfer.receiver import ReservationTable
from legato.cluster.transfer.receiver_actions import (
    Adopt,
    Drop,
    FreeBlocks,
    ReceiverAction,
    ReservedBlocks,
    Send,
    Verify,
)
from legato.cluster.transfer.transport import wait_out
from legato.cluster.wire import Deny, Heartbeat, Hello, Peer, ToDecode
from legato.engine.core import EngineCore
from legato.engine.errors import OverloadedError, WorkerLostError
from legato.engine.handover import BlockReservation

# Blocks beyond the prompt's, for what P generates before it hands over.
NUM_EXTRA_BLOCKS = 2


class HandoverSink:
    """Owner of the sequences that wait for KV from a prefill worker."""

    def __init__(
        self,
        engine: EngineLoop,
        pool: LocalPool,
        secret: str,
        on_started: Callable[[LiveRequest, int], None],
    ) -> None:
        self.table = ReservationTable(pool.block_size)
        self._engine = engine
        self._pool = pool
        self._digester = BlockDigester(pool.tensor)
        self._secret = secret
        self._on_started = on_started
        self._waiting: dict[bytes, tuple[LiveRequest, BlockReservation]] = {}  # by transfer
        self._links: dict[str, Connection[ToDecode]] = {}
        self._lost_writers: dict[str, Peer] = {}  # by name
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------ requests

    def submit(self, live: LiveRequest, writer: Peer) -> None:
        """Reserves blocks for a sequence that `writer` computes, and waits for them."""
        num_extra_tokens = NUM_EXTRA_BLOCKS * self._pool.block_size
        self._engine.request(
            lambda core: core.reserve(live.sequence_request, num_extra_tokens),
            partial(self._on_reserved, live, writer),
            partial(self._on_refused, live, writer),
        )

    def cancel(self, transfer: bytes) -> None:
        """The router wants the sequence no more; nothing happens if it is not waiting here."""
        self._waiting.pop(transfer, None)
        self._act(self.table.abort(transfer))

    def _on_reserved(
        self, live: LiveRequest, writer: Peer, reservation: BlockReservation | None
    ) -> None:
        if reservation is None:
            self._on_refused(live, writer, OverloadedError("no free KV blocks"))
            return
        if live.is_over:
            self._act((FreeBlocks(reservation.block_ids),))
            return
        blocks = ReservedBlocks(
            reservation.cached_block_ids, reservation.fresh_block_ids, reservation.epochs
        )
        handle = self.table.open(writer.transfer, writer.worker, blocks, time.monotonic())
        self._waiting[writer.transfer] = (live, reservation)
        grant = self.table.grant(handle)
        if grant is not None:
            self._link_to(writer).stream.send(grant)

    def _on_refused(self, live: LiveRequest, writer: Peer, error: Exception) -> None:
        self._link_to(writer).stream.send(Deny(writer.transfer))
        if not live.is_over:
            live.fail(error)

    # ------------------------------------------------------------------ what the table wants done

    def _act(self, actions: Iterable[ReceiverAction]) -> None:
        for action in actions:
            match action:
                case Send(writer, message):
                    if writer in self._links:
                        self._links[writer].stream.send(message)
                case FreeBlocks(block_ids):
                    self._engine.post(partial(_give_back, block_ids))
                case Drop(transfer, reason):
                    waiting = self._waiting.pop(transfer, None)
                    if waiting is not None:
                        waiting[0].fail(WorkerLostError(f"no KV will come: {reason}"))
                case Verify(handle, block_ids):
                    self._spawn(self._verify(handle, block_ids))
                case Adopt():
                    self._adopt(action)

    async def _verify(self, handle: bytes, block_ids: tuple[int, ...]) -> None:
        digests: list[int] | None = None  # KV that cannot be verified is not trusted
        try:
            digests = await asyncio.to_thread(self._digester.digests, block_ids)
        finally:
            self._act(self.table.finish_commit(handle, digests))

    def _adopt(self, adopt: Adopt) -> None:
        live, reservation = self._waiting.pop(adopt.transfer)
        request = replace(live.sequence_request, output_token_ids=adopt.output_token_ids)

        def failed(error: Exception) -> None:
            self._act((FreeBlocks(adopt.block_ids),))
            live.fail(error)

        self._engine.request(
            lambda core: core.adopt(request, reservation, adopt.num_computed_tokens),
            partial(self._on_started, live),
            failed,
        )

    # ------------------------------------------------------------------ bytes that pass through us

    async def receive_blocks(
        self, handle: bytes, writer: str, block_ids: list[int], data: BlockData
    ) -> bool:
        """Copies blocks that came through the object store; False: they are not wanted."""
        if not self.table.begin_write(writer, handle, block_ids):
            return False
        try:
            copying = asyncio.to_thread(store_blocks, self._pool.tensor, block_ids, data)
            await wait_out(asyncio.ensure_future(copying))
        finally:
            self._act(self.table.end_write(handle))
        return True

    # ------------------------------------------------------------------ links

    def _link_to(self, writer: Peer) -> Connection[ToDecode]:
        link = self._links.get(writer.worker)
        if link is None:
            link = Connection(writer.address, "Handover", self._secret, ToDecode, Heartbeat())
            self._links[writer.worker] = link
            link.stream.send(Hello(self._pool.descriptor))
            self._act(self.table.link_restored(writer.worker))
            self._spawn(self._follow(writer, link))
        return link

    async def _follow(self, writer: Peer, link: Connection[ToDecode]) -> None:
        name = writer.worker

        def on_message(message: ToDecode) -> None:
            self._lost_writers.pop(name, None)
            self._act(self.table.on_message(name, message, time.monotonic()))

        try:
            await link.run(on_message)
        finally:
            del self._links[name]
            self._lost_writers[name] = writer
            self._act(self.table.writer_lost(name))

    async def tick(self) -> None:
        """To be called about once a second: leases; writers that may be dead, or back, by now."""
        self._act(self.table.expire(time.monotonic()))
        for name, writer in list(self._lost_writers.items()):
            if await asyncio.to_thread(is_dead, name):
                self._lost_writers.pop(name, None)
                self._act(self.table.writer_dead(name))
            else:
                self._link_to(writer)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _give_back(block_ids: tuple[int, ...], core: EngineCore) -> None:
    core.give_back(block_ids)
