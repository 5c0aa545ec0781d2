"""Which way KV blocks take from one worker to another: the fastest one that is open."""

from dataclasses import dataclass

from torch import Tensor

from legato.cluster.transfer.cuda_ipc import CudaIpcTransport
from legato.cluster.transfer.object_store import BlockReceiver, ObjectStoreTransport
from legato.cluster.transfer.shared_memory import SharedMemoryTransport
from legato.cluster.transfer.transport import (
    PoolDescriptor,
    Transport,
    TransportUnavailableError,
    check_compatible,
)

# By the kind of the peer's pool; each writes to it without its owner's help.
_ONE_SIDED = {"memfd": SharedMemoryTransport, "cuda_ipc": CudaIpcTransport}


@dataclass(frozen=True, slots=True)
class Choice:
    """A transport (its `name` is for logs and metrics), and why it is not a faster one."""

    transport: Transport
    reason: str | None = None


def choose_transport(
    local_pool: Tensor, local: PoolDescriptor, peer: PoolDescriptor, receiver: BlockReceiver
) -> Choice:
    """A one-sided one if the peer's pool opens here, else Ray's object store.

    Raises:
        IncompatiblePoolsError: no block of the one pool fits the other.
    """
    check_compatible(local, peer)
    try:
        open_road = _ONE_SIDED.get(peer.kind)
        if open_road is None:
            raise TransportUnavailableError(f"the pool of {peer.worker} is not shared")
        return Choice(open_road(local_pool, peer))
    except TransportUnavailableError as error:
        return Choice(ObjectStoreTransport(local_pool, local.worker, receiver), str(error))
