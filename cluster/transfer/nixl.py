"""KV pools on different hosts, and one-sided writes between two of them over RDMA.

    prefill worker                                       decode worker
    pool --copy and digest--> outbox --WRITE, the NIC--> pool, which its agent described in Hello

What is sent is what was digested: a step under way may still write behind what was computed, while
a network card reads. The outbox is registered with the agent as long as the transport is open; it
costs a pass over memory, which is a hundredth of what a network takes. That a push has landed is
told by the Commit that follows it: a notification of NIXL's own would be one more message.

Between processes of one machine this was run with pools on CPUs; InfiniBand and GPUs were not
there.
"""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from legato.cluster.transfer.block_bytes import check_block_ids, in_chunks
from legato.cluster.transfer.digest import side_stream
from legato.cluster.transfer.nixl_agent import BlockRanges, NixlAgent, location_of
from legato.cluster.transfer.transport import (
    PoolDescriptor,
    PushFailedError,
    PushReport,
    TransportUnavailableError,
    wait_out,
)
from legato.kernels.backend import kernels_for


class NixlTransport:
    """Writes blocks into a pool on another host; the peer takes no part in it."""

    name = "nixl"

    def __init__(
        self, agent: NixlAgent, peer: PoolDescriptor, max_chunk_bytes: int = 32 << 20
    ) -> None:
        """
        Args:
            agent: of the local pool, whose layout is the peer's.
            max_chunk_bytes: size of the outbox, but for a block that is larger.

        Raises:
            TransportUnavailableError: the peer has no agent, or it cannot be reached.
        """
        if peer.registered is None:
            raise TransportUnavailableError(f"{peer.worker} has no NIXL agent")
        self._agent = agent
        self._peer = peer
        self._target = peer.registered
        self._num_at_once = max(1, max_chunk_bytes // peer.bytes_per_block)
        pool = agent.pool
        self._kernels = kernels_for(pool.device)
        self._stream = side_stream(pool.device)
        self._outbox = pool.new_empty((self._num_at_once, *pool.shape[1:]))
        self._slots = torch.arange(self._num_at_once, device=pool.device)
        self._registration = agent.register(self._outbox)
        self._connected_to: str | None = None
        try:
            self._connect()
        except TransportUnavailableError:
            agent.deregister(self._registration)
            raise
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="legato-push")

    async def push(
        self, handle: bytes, src_block_ids: Sequence[int], dst_block_ids: Sequence[int]
    ) -> PushReport:
        """See `Transport.push`. The handle is not needed: this process was granted the blocks."""
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._thread, self._write, src_block_ids, dst_block_ids)
        try:
            digests = await wait_out(work)
        except (IndexError, TransportUnavailableError) as error:
            raise PushFailedError(str(error)) from error
        num_bytes = len(src_block_ids) * self._peer.bytes_per_block
        return PushReport(num_bytes, time.perf_counter() - started, tuple(digests))

    def _write(self, src_block_ids: Sequence[int], dst_block_ids: Sequence[int]) -> list[int]:
        check_block_ids(src_block_ids, self._agent.pool.shape[0])
        check_block_ids(dst_block_ids, self._peer.num_blocks)
        agent_name = self._connect()
        digests: list[int] = []
        try:
            for src, dst in in_chunks(src_block_ids, dst_block_ids, self._num_at_once):
                digests += self._fill_outbox(src)
                self._agent.write(agent_name, self._sources(len(dst)), self._targets(dst))
        except PushFailedError:
            self._disconnect()  # a connection that broke once stays broken
            raise
        return digests

    def _fill_outbox(self, block_ids: Sequence[int]) -> list[int]:
        """Copies blocks to the outbox; returns their digests when they are there."""
        pool = self._agent.pool
        with torch.cuda.stream(self._stream):
            blocks = torch.tensor(block_ids, dtype=torch.int64, device=pool.device)
            slots = self._slots[: len(block_ids)]
            digests: list[int] = self._kernels.push_blocks(
                pool, self._outbox, blocks, slots
            ).tolist()
        return digests

    def _sources(self, num_blocks: int) -> BlockRanges:
        return BlockRanges.of(
            location_of(self._outbox), range(num_blocks), self._peer.bytes_per_block
        )

    def _targets(self, block_ids: Sequence[int]) -> BlockRanges:
        return BlockRanges.of(self._target.location, block_ids, self._peer.bytes_per_block)

    def _connect(self) -> str:
        """The peer's agent."""
        if self._connected_to is None:
            self._connected_to = self._agent.connect(self._target.metadata)
        return self._connected_to

    def _disconnect(self) -> None:
        if self._connected_to is not None:
            self._agent.disconnect(self._connected_to)
            self._connected_to = None

    def close(self) -> None:
        """See `Transport.close`."""
        self._thread.shutdown()
        self._disconnect()
        self._agent.deregister(self._registration)
