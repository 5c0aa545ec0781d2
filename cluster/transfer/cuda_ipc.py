"""KV pools on GPUs of one host, and one-sided copies between two of them.

    decode worker:  cuIpcGetMemHandle(pool) --Hello--> prefill worker: cuIpcOpenMemHandle
                                                       push kernel: our pool -> theirs, over NVLink

One kernel copies the blocks of a push and computes their digests in the same pass, on a stream of
its own and on few multiprocessors, while the engine's steps go on. The two workers may see
different GPUs, each as its only one. A pool stays mapped until `close`, even if its owner dies:
what is still written then hurts nobody.

The driver's own calls are used, because torch's sharing counts references in files that outlive
their processes.
"""

import asyncio
import ctypes
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

from legato.cluster.transfer.block_bytes import check_block_ids
from legato.cluster.transfer.digest import side_stream
from legato.cluster.transfer.transport import (
    PoolDescriptor,
    PushFailedError,
    PushReport,
    TransportUnavailableError,
    host_id,
    wait_out,
)
from legato.kernels.backend import kernels_for

_HANDLE_BYTES = 64
_LAZY_ENABLE_PEER_ACCESS = 1
# Between the tokens of decode steps, a push goes first: its kernel is short and takes few programs.
_PUSH_PRIORITY = -1


class _IpcHandle(ctypes.Structure):
    """The driver's CUipcMemHandle, which is passed by value."""

    _fields_ = (("reserved", ctypes.c_char * _HANDLE_BYTES),)


def export_pool(worker: str, pool: Tensor) -> PoolDescriptor:
    """What peers on this host need in order to open a pool on a GPU.

    Raises:
        TransportUnavailableError: the driver does not share this memory.
    """
    _use(pool.device)
    base, size = ctypes.c_uint64(), ctypes.c_size_t()
    address = ctypes.c_uint64(pool.data_ptr())
    _call("cuMemGetAddressRange_v2", ctypes.byref(base), ctypes.byref(size), address)
    handle = _IpcHandle()
    _call("cuIpcGetMemHandle", ctypes.byref(handle), base)
    return PoolDescriptor(
        worker=worker,
        host=host_id(),
        pid=os.getpid(),
        shape=tuple(pool.shape),
        dtype=str(pool.dtype).removeprefix("torch."),
        kind="cuda_ipc",
        offset=pool.data_ptr() - base.value,
        token=bytes(handle),
    )


class OpenedPool:
    """A peer's pool, mapped into this process."""

    def __init__(self, peer: PoolDescriptor, device: torch.device) -> None:
        """
        Args:
            device: the GPU that is to write to it

        Raises:
            TransportUnavailableError: it cannot be opened.
        """
        if peer.kind != "cuda_ipc" or peer.host != host_id():
            raise TransportUnavailableError(f"the pool of {peer.worker} is on no GPU of this host")
        if len(peer.token) != _HANDLE_BYTES:
            raise TransportUnavailableError(f"{peer.worker} sent no handle of its pool")
        _use(device)
        self._base = ctypes.c_uint64()
        handle = _IpcHandle.from_buffer_copy(peer.token)
        _call("cuIpcOpenMemHandle_v2", ctypes.byref(self._base), handle, _LAZY_ENABLE_PEER_ACCESS)
        self._device = device
        self._address = self._base.value + peer.offset

    def data_ptr(self) -> int:
        """Where the first block begins, in this process's addresses."""
        return self._address

    def close(self) -> None:
        """Unmaps it; no kernel may use it any more."""
        _use(self._device)
        _call("cuIpcCloseMemHandle", self._base)


class CudaIpcTransport:
    """Copies blocks into the pool of another GPU on this host; the peer takes no part in it."""

    name = "cuda_ipc"

    def __init__(self, local_pool: Tensor, peer: PoolDescriptor) -> None:
        """
        Args:
            local_pool: [num_blocks, ...], contiguous, on a GPU; its layout is the peer's.

        Raises:
            TransportUnavailableError: the peer's pool cannot be opened.
        """
        if local_pool.device.type != "cuda":
            raise TransportUnavailableError("our own pool is not on a GPU")
        self._pool = local_pool
        self._num_target_blocks = peer.num_blocks
        self._bytes_per_block = peer.bytes_per_block
        self.target = OpenedPool(peer, local_pool.device)
        self._kernels = kernels_for(local_pool.device)
        self._stream = side_stream(local_pool.device, _PUSH_PRIORITY)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="legato-push")

    async def push(
        self, handle: bytes, src_block_ids: Sequence[int], dst_block_ids: Sequence[int]
    ) -> PushReport:
        """See `Transport.push`. The handle is not needed: this process was granted the blocks."""
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._thread, self._copy, src_block_ids, dst_block_ids)
        try:
            digests, seconds = await wait_out(work)
        except IndexError as error:
            raise PushFailedError(str(error)) from error
        num_bytes = len(src_block_ids) * self._bytes_per_block
        return PushReport(num_bytes, seconds, tuple(digests))

    def _copy(
        self, src_block_ids: Sequence[int], dst_block_ids: Sequence[int]
    ) -> tuple[list[int], float]:
        """The digests, and the seconds that the kernel took by the GPU's own clock.

        Returns when all has landed: reading the digests waits for the kernel.
        """
        check_block_ids(src_block_ids, self._pool.shape[0])
        check_block_ids(dst_block_ids, self._num_target_blocks)
        count = len(src_block_ids)
        # One copy to the GPU; both halves begin at a multiple of 16 bytes, as the kernel expects.
        pairs = torch.zeros(2, count + count % 2, dtype=torch.int64)
        pairs[:, :count] = torch.tensor([src_block_ids, dst_block_ids])
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.stream(self._stream):
            src_blocks, dst_blocks = pairs.to(self._pool.device)[:, :count]
            start.record()
            pushed = self._kernels.push_blocks(self._pool, self.target, src_blocks, dst_blocks)
            end.record()
            digests: list[int] = pushed.tolist()
        return digests, start.elapsed_time(end) / 1000

    def close(self) -> None:
        """See `Transport.close`."""
        self._thread.shutdown()
        self.target.close()


def _use(device: torch.device) -> None:
    """Makes the device's context this thread's: the driver's calls work on the current one."""
    torch.cuda.set_device(device)
    torch.cuda.current_stream(device).query()


@cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def _call(name: str, *arguments: object) -> None:
    """Raises:
    TransportUnavailableError: the driver refused, for the reason that the message gives.
    """
    result = getattr(_driver(), name)(*arguments)
    if result != 0:
        reason = ctypes.c_char_p()
        _driver().cuGetErrorString(result, ctypes.byref(reason))
        text = reason.value.decode() if reason.value else f"error {result}"
        raise TransportUnavailableError(f"{name}: {text}")
