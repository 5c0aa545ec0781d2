"""Which way KV blocks take from one worker to another: the fastest one that is open."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from legato.cluster.transfer.cuda_ipc import CudaIpcTransport
from legato.cluster.transfer.local_pool import LocalPool
from legato.cluster.transfer.nixl import NixlTransport
from legato.cluster.transfer.object_store import BlockReceiver, ObjectStoreTransport
from legato.cluster.transfer.shared_memory import SharedMemoryTransport
from legato.cluster.transfer.transport import (
    PoolDescriptor,
    Transport,
    TransportUnavailableError,
    check_compatible,
)

_OpenRoad = Callable[[Tensor, PoolDescriptor], Transport]

# By the kind of the peer's pool.
_ON_ONE_HOST: Mapping[str, _OpenRoad] = {
    "memfd": SharedMemoryTransport,
    "cuda_ipc": CudaIpcTransport,
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A transport (its `name` is for logs and metrics), and why it is not a faster one."""

    transport: Transport
    reason: str | None = None


def choose_transport(pool: LocalPool, peer: PoolDescriptor, receiver: BlockReceiver) -> Choice:
    """A one-sided one if the peer's pool opens here, else Ray's object store.

    Raises:
        IncompatiblePoolsError: no block of the one pool fits the other.
    """
    check_compatible(pool.descriptor, peer)
    refusals: list[str] = []
    for open_road in (_on_one_host, _between_hosts):
        try:
            return Choice(open_road(pool, peer), "; ".join(refusals) or None)
        except TransportUnavailableError as error:
            refusals.append(str(error))
    through_ray = ObjectStoreTransport(pool.tensor, pool.descriptor.worker, receiver)
    return Choice(through_ray, "; ".join(refusals))


def _on_one_host(pool: LocalPool, peer: PoolDescriptor) -> Transport:
    open_road = _ON_ONE_HOST.get(peer.kind)
    if open_road is None:
        raise TransportUnavailableError(f"the pool of {peer.worker} is not shared")
    return open_road(pool.tensor, peer)


def _between_hosts(pool: LocalPool, peer: PoolDescriptor) -> Transport:
    if pool.agent is None:
        raise TransportUnavailableError("no NIXL agent here")
    return NixlTransport(pool.agent, peer)
