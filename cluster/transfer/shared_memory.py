"""KV pools in shared memory, and one-sided copies between two of them on one host.

    memfd of the decode worker:   | token, padded to 4096 | block 0 | block 1 | ... |
                                            prefill worker: mmap of /proc/<pid>/fd/<fd>

A memfd has no name: nothing is left behind when its processes die, however they die, and the size
of /dev/shm does not matter. Process ids are reused and mean different things in different
containers, so whoever opens a peer's pool looks for the peer's random token in it.
"""

import asyncio
import fcntl
import mmap
import os
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from legato.cluster.transfer.block_bytes import as_bytes, copy_blocks, in_chunks
from legato.cluster.transfer.digest import block_digests
from legato.cluster.transfer.transport import (
    PoolDescriptor,
    PushFailedError,
    PushReport,
    TransportUnavailableError,
    host_id,
    wait_out,
)

MEMFD_NAME = "legato-kv"
HEADER_BYTES = 4096
TOKEN_BYTES = 16


class SharedPool:
    """Memory for this process's KV pool that workers on the same host can write to."""

    def __init__(self, num_bytes: int) -> None:
        self._fd = os.memfd_create(MEMFD_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._fd, HEADER_BYTES + num_bytes)
        # A file that shrinks under a mapping would kill its readers.
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        mapping = mmap.mmap(self._fd, HEADER_BYTES + num_bytes)
        self._token = secrets.token_bytes(TOKEN_BYTES)
        mapping[:TOKEN_BYTES] = self._token
        self.buffer = torch.frombuffer(
            mapping, dtype=torch.uint8, offset=HEADER_BYTES, count=num_bytes
        )  # zeros, [num_bytes]; the memory lives as long as any view of it

    def describe(self, worker: str, pool: Tensor) -> PoolDescriptor:
        """What peers need in order to open `pool`, a view of the whole buffer."""
        assert pool.data_ptr() == self.buffer.data_ptr(), "the pool does not begin with the buffer"
        return PoolDescriptor(
            worker=worker,
            host=host_id(),
            pid=os.getpid(),
            shape=tuple(pool.shape),
            dtype=str(pool.dtype).removeprefix("torch."),
            kind="memfd",
            fd=self._fd,
            offset=HEADER_BYTES,
            token=self._token,
        )

    def close(self) -> None:
        """Peers that have not opened the pool yet can do so no more."""
        os.close(self._fd)


def open_peer_pool(peer: PoolDescriptor) -> Tensor:
    """Maps a peer's pool: uint8 [num_blocks, bytes of a block], writable.

    Raises:
        TransportUnavailableError: it cannot be opened, or what was found there is something else.
    """
    if peer.kind != "memfd" or peer.host != host_id():
        raise TransportUnavailableError(f"the pool of {peer.worker} is not shared on this host")
    path = f"/proc/{peer.pid}/fd/{peer.fd}"
    try:
        # Opening whatever else goes by this number now could block or have effects.
        if not os.readlink(path).startswith(f"/memfd:{MEMFD_NAME}"):
            raise TransportUnavailableError(f"{path} is not the pool of {peer.worker}")
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise TransportUnavailableError(f"{path} of {peer.worker}: {error.strerror}") from error
    try:
        num_bytes = peer.offset + peer.num_bytes
        if os.fstat(fd).st_size < num_bytes:
            raise TransportUnavailableError(f"{path} is too small for the pool of {peer.worker}")
        mapping = mmap.mmap(fd, num_bytes)
    finally:
        os.close(fd)
    if not secrets.compare_digest(mapping[:TOKEN_BYTES], peer.token):
        raise TransportUnavailableError(f"{path} is another worker's pool, not {peer.worker}'s")
    flat = torch.frombuffer(mapping, dtype=torch.uint8, offset=peer.offset, count=peer.num_bytes)
    return flat.view(peer.num_blocks, peer.bytes_per_block)


class SharedMemoryTransport:
    """Copies blocks into a pool of another process on this host; the peer takes no part in it."""

    name = "shared_memory"

    def __init__(
        self, local_pool: Tensor, peer: PoolDescriptor, max_chunk_bytes: int = 16 << 20
    ) -> None:
        """
        Args:
            local_pool: [num_blocks, ...], contiguous, on the CPU; its layout is the peer's.
            max_chunk_bytes: what a cancelled push still copies at most.

        Raises:
            TransportUnavailableError: the peer's pool cannot be opened.
        """
        self._pool = local_pool
        self._source = as_bytes(local_pool)
        self._target = open_peer_pool(peer)
        self._num_at_once = max(1, max_chunk_bytes // peer.bytes_per_block)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="legato-push")

    async def push(
        self, handle: bytes, src_block_ids: Sequence[int], dst_block_ids: Sequence[int]
    ) -> PushReport:
        """See `Transport.push`. The handle is not needed: this process was granted the blocks."""
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        digests: list[int] = []
        for src, dst in in_chunks(src_block_ids, dst_block_ids, self._num_at_once):
            work = loop.run_in_executor(self._thread, self._copy, src, dst)
            try:
                copied = await wait_out(work)
            except IndexError as error:
                raise PushFailedError(str(error)) from error
            digests += copied
        num_bytes = len(src_block_ids) * self._source.shape[1]
        return PushReport(num_bytes, time.perf_counter() - started, tuple(digests))

    def _copy(self, src_block_ids: Sequence[int], dst_block_ids: Sequence[int]) -> list[int]:
        copy_blocks(self._source, src_block_ids, self._target, dst_block_ids)
        return block_digests(self._pool, src_block_ids)

    def close(self) -> None:
        """See `Transport.close`."""
        self._thread.shutdown()
        self._target = torch.empty(0, 0, dtype=torch.uint8)  # the last view of the mapping goes
