"""This worker's KV pool, with every way in that other workers have.

device      kv_transport   workers of this host come by      those of other hosts by
GPU         auto           a CUDA IPC handle                 NIXL, if it is installed
CPU         auto           a memfd                           NIXL, if it is installed
any         nixl           NIXL                              NIXL
any         object_store   Ray's object store                Ray's object store

A cluster on one machine has no other hosts: there NIXL opens no port unless it is asked for.
"""

import logging
from dataclasses import dataclass

import msgspec
import torch

from legato.cluster.transfer.cuda_ipc import export_pool
from legato.cluster.transfer.nixl_agent import NixlAgent, is_installed
from legato.cluster.transfer.shared_memory import SharedPool
from legato.cluster.transfer.transport import (
    KVTransport,
    PoolDescriptor,
    TransportUnavailableError,
)
from legato.engine.errors import ConfigError
from legato.engine.kv_cache import allocate_pool
from legato.engine.kv_layout import KVCacheSpec
from legato.engine.torch_dtypes import TORCH_DTYPES

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LocalPool:
    """A pool, as both halves of a handover need it."""

    tensor: torch.Tensor  # [block, layer, k/v, kv_head, token, head_dim]
    descriptor: PoolDescriptor
    block_size: int  # tokens
    agent: NixlAgent | None = None


def make_local_pool(
    worker: str,
    spec: KVCacheSpec,
    num_blocks: int,
    device: torch.device,
    kv_transport: KVTransport,
    has_other_hosts: bool,
) -> LocalPool:
    """Allocates a pool and opens it as far as `kv_transport` allows.

    Args:
        has_other_hosts: the cluster may have workers on other machines

    Raises:
        ConfigError: NIXL is asked for and cannot be had.
    """
    is_shared = kv_transport is KVTransport.AUTO
    make = _shared_pool if is_shared else _private_pool
    tensor, descriptor = make(worker, spec, num_blocks, device)
    agent = None
    if kv_transport is KVTransport.NIXL:
        agent = _required_agent(worker, tensor)
    elif kv_transport is KVTransport.AUTO and has_other_hosts and is_installed():
        agent = _agent_if_any(worker, tensor)
    if agent is not None:
        descriptor = msgspec.structs.replace(descriptor, registered=agent.describe())
    return LocalPool(tensor, descriptor, spec.block_size, agent)


def _required_agent(worker: str, tensor: torch.Tensor) -> NixlAgent:
    try:
        return NixlAgent(worker, tensor)
    except TransportUnavailableError as error:
        raise ConfigError(f"--kv-transport nixl: {error}") from error


def _agent_if_any(worker: str, tensor: torch.Tensor) -> NixlAgent | None:
    try:
        return NixlAgent(worker, tensor)
    except TransportUnavailableError as error:
        logger.warning("KV comes from other hosts through Ray's object store: %s", error)
        return None


def _shared_pool(
    worker: str, spec: KVCacheSpec, num_blocks: int, device: torch.device
) -> tuple[torch.Tensor, PoolDescriptor]:
    """A pool that other processes on this host can open, if the device allows that."""
    if device.type == "cpu":
        shared = SharedPool(num_blocks * spec.bytes_per_block)
        tensor = shared.buffer.view(TORCH_DTYPES[spec.dtype]).view(spec.pool_shape(num_blocks))
        return tensor, shared.describe(worker, tensor)
    tensor, private = _private_pool(worker, spec, num_blocks, device)
    try:
        return tensor, export_pool(worker, tensor)
    except TransportUnavailableError as error:
        logger.warning("the KV pool is not shared with other processes: %s", error)
        return tensor, private


def _private_pool(
    worker: str, spec: KVCacheSpec, num_blocks: int, device: torch.device
) -> tuple[torch.Tensor, PoolDescriptor]:
    tensor = allocate_pool(spec, num_blocks, device)
    return tensor, PoolDescriptor.private(worker, tuple(tensor.shape), spec.dtype)
