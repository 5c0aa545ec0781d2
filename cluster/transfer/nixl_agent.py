"""This process as NIXL knows it: one agent, its pool that peers write to, and its own writes.

    NixlAgent --describe--> Hello --connect--> the peer's NixlAgent --write--> our pool

NIXL (`pip install legato-llm[nixl]`) finds the way: InfiniBand, RoCE or, where there is neither,
TCP. Its ports are UCX's: on every interface but those that UCX_NET_DEVICES leaves out, and whoever
reaches them needs no secret of ours. They belong into a network of the cluster's own.

Where no hardware writes into the peer's memory, the peer's process has to help, so every agent is
kept going by a thread. NIXL's own such thread never sleeps and takes a whole core.
Knows memory and block ids; what is in a block, and who may write to it, is not known here.
"""

import contextlib
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from legato.cluster.transfer.block_bytes import as_bytes
from legato.cluster.transfer.transport import (
    MemoryLocation,
    PushFailedError,
    RegisteredPool,
    TransportUnavailableError,
)

# How often an agent looks for work: below what a step takes, and about 1 % of a core.
_PROGRESS_S = 0.001
_POLL_S = 0.0001

logger = logging.getLogger(__name__)


def is_installed() -> bool:
    """Whether the optional dependency is there."""
    return find_spec("nixl") is not None


@dataclass(frozen=True, slots=True, eq=False)
class BlockRanges:
    """Some blocks of registered memory, as NIXL has them.

    Attributes:
        rows: uint64 [blocks, 3]: address, bytes, device
        is_gpu: where the memory lies
    """

    rows: NDArray[np.uint64]
    is_gpu: bool

    @classmethod
    def of(
        cls, location: MemoryLocation, block_ids: Sequence[int], bytes_per_block: int
    ) -> "BlockRanges":
        rows: NDArray[np.uint64] = np.empty((len(block_ids), 3), dtype=np.uint64)
        rows[:, 0] = np.asarray(block_ids, dtype=np.uint64) * np.uint64(bytes_per_block)
        rows[:, 0] += np.uint64(location.address)
        rows[:, 1:] = bytes_per_block, location.device_index
        return cls(rows, location.is_gpu)


class NixlAgent:
    """This process's agent, with its pool. May be used from several threads."""

    def __init__(self, worker: str, pool: Tensor) -> None:
        """
        Args:
            pool: [num_blocks, ...], contiguous

        Raises:
            TransportUnavailableError: NIXL is not installed, or cannot register this memory.
        """
        if not is_installed():
            raise TransportUnavailableError("NIXL is missing: pip install 'legato-llm[nixl]'")
        self.pool = pool
        # A worker that comes back must not be taken for the one before it.
        name = f"{worker}:{secrets.token_hex(4)}"
        try:
            self._agent = _new_agent(name)
        except Exception as error:  # NIXL's errors have no base of their own
            raise TransportUnavailableError(f"no NIXL agent for {worker}: {error}") from error
        self._registration = self.register(pool)
        self._num_users: Counter[str] = Counter()  # by the peer's agent
        self._peers_lock = threading.Lock()
        self._is_closed = threading.Event()
        self._progress = threading.Thread(target=self._keep_going, name="legato-nixl", daemon=True)
        self._progress.start()

    def describe(self) -> RegisteredPool:
        """What peers need in order to write to the pool."""
        return RegisteredPool(self._agent.get_agent_metadata(), location_of(self.pool))

    def register(self, memory: Tensor) -> Any:
        """Makes memory known to the network's hardware; returns what `deregister` takes.

        Raises:
            TransportUnavailableError: NIXL cannot register it.
        """
        try:
            return self._agent.register_memory(as_bytes(memory))
        except Exception as error:
            raise TransportUnavailableError(f"NIXL: {error}") from error

    def deregister(self, registration: Any) -> None:
        """No write may be under way from or to this memory."""
        self._agent.deregister_memory(registration)

    def connect(self, metadata: bytes) -> str:
        """Learns of a peer's agent; returns its name.

        Raises:
            TransportUnavailableError: these are not an agent's metadata, or it cannot be reached.
        """
        try:
            with self._peers_lock:
                peer = _text(self._agent.add_remote_agent(metadata))
                self._agent.make_connection(peer)
                self._num_users[peer] += 1
        except Exception as error:
            raise TransportUnavailableError(f"NIXL: {error}") from error
        return peer

    def disconnect(self, peer: str) -> None:
        """Forgets a peer, when all that connected to it have disconnected."""
        with self._peers_lock:
            self._num_users[peer] -= 1
            if not self._num_users[peer]:
                del self._num_users[peer]
                self._agent.remove_remote_agent(peer)

    def write(self, peer: str, sources: BlockRanges, targets: BlockRanges) -> None:
        """Writes `sources`[i] to `targets`[i]; returns when all has landed.

        Raises:
            PushFailedError: not all has landed, and no part of it is under way any more.
        """
        writing = None
        try:
            writing = self._agent.initialize_xfer(
                "WRITE", self._descriptors(sources), self._descriptors(targets), peer
            )
            state = self._agent.transfer(writing)
            while state == "PROC":
                time.sleep(_POLL_S)
                state = self._agent.check_xfer_state(writing)
        except Exception as error:
            raise PushFailedError(f"NIXL: {error}") from error
        finally:
            if writing is not None:
                self._let_go(writing)
        if state != "DONE":
            raise PushFailedError(f"NIXL: a write to {peer} failed")

    def _let_go(self, writing: Any) -> None:
        """Returns when no part of the write is under way: NIXL refuses to let go before."""
        while True:
            try:
                self._agent.release_xfer_handle(writing)
                return
            except Exception as error:
                logger.debug("a write cannot be called back yet: %s", error)
                time.sleep(_PROGRESS_S)

    def _descriptors(self, ranges: BlockRanges) -> Any:
        return self._agent.get_xfer_descs(ranges.rows, "VRAM" if ranges.is_gpu else "DRAM")

    def _keep_going(self) -> None:
        while not self._is_closed.wait(_PROGRESS_S):
            with contextlib.suppress(Exception):  # of a peer that is gone: its link tells us
                self._agent.get_new_notifs()

    def close(self) -> None:
        """Peers can write to the pool no more. No write may be under way."""
        self._is_closed.set()
        self._progress.join()
        self.deregister(self._registration)


def location_of(memory: Tensor) -> MemoryLocation:
    """Where a tensor begins, as its own process sees it."""
    return MemoryLocation(memory.data_ptr(), memory.device.index or 0, memory.is_cuda)


def _new_agent(name: str) -> Any:  # NIXL's classes have no types
    import nixl

    config = nixl.nixl_agent_config(
        enable_prog_thread=False,
        backends=["UCX"],
        sync_mode=nixl.nixl_thread_sync_t.NIXL_THREAD_SYNC_STRICT,
    )
    return nixl.nixl_agent(name, config)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
