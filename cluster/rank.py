"""One tensor-parallel rank of a worker: the engine, its streams, and what keeps them going.

    event loop      gRPC server (routers, decode workers), Worker, reports, leases
    engine thread   EngineCore: schedule, run, update
    other threads   pushes, digests, loading

It lives in an engine actor (engine_actor.py) and knows Ray only for its own address.
"""

import asyncio
import logging
import time
from functools import partial
from ipaddress import ip_address

import ray
import torch

from legato.cluster.channel import Read, Stream, StreamServer, Write
from legato.cluster.engine_actor import (
    EngineActorOptions,
    WorkerDescription,
)
from legato.cluster.interpreter import calm_collector, share_interpreter
from legato.cluster.membership import ActorName
from legato.cluster.transfer.digest import compile_transfers
from legato.cluster.transfer.local_pool import LocalPool, make_local_pool
from legato.cluster.wire import Heartbeat, Pong, ToPrefill, ToWorker
from legato.cluster.worker import Worker
from legato.engine.core import EngineCore
from legato.engine.kv_layout import KVCacheSpec
from legato.engine.load_progress import LoadProgress, OnProgress

REPORT_S = 0.1
TICK_S = 1.0

logger = logging.getLogger(__name__)


class Rank:
    """Built by `start`; serves until its process ends."""

    def __init__(self, worker: Worker, description: WorkerDescription) -> None:
        self.worker = worker
        self.description = description
        self._tasks = [asyncio.create_task(self._report()), asyncio.create_task(self._tick())]

    async def _report(self) -> None:
        while True:
            self.worker.broadcast_report()
            await asyncio.sleep(REPORT_S)

    async def _tick(self) -> None:
        while True:
            try:
                await self.worker.tick()
            except ray.exceptions.RayError as error:
                logger.warning("the control plane is away: %s", error)
            await asyncio.sleep(TICK_S)


async def start(name: ActorName, options: EngineActorOptions, on_progress: OnProgress) -> Rank:
    """Loads the model and starts to serve.

    Raises:
        ConfigError: the model cannot be served as asked.
    """
    started = time.monotonic()
    if options.num_threads is not None:
        torch.set_num_threads(options.num_threads)
    node_address = _node_address()
    core, pool = await asyncio.to_thread(_build, str(name), options, node_address, on_progress)
    worker = Worker(str(name), name.role, core, pool, options.secret)
    server = StreamServer(
        options.secret,
        {"Generate": partial(_serve_router, worker), "Handover": partial(_serve_decode, worker)},
    )
    address = await server.start(node_address)
    calm_collector()
    share_interpreter()
    worker.start()
    description = WorkerDescription(
        worker=str(name),
        role=name.role,
        address=address,
        device=pool.tensor.device.type,
        dtype=pool.descriptor.dtype,
        num_blocks=core.limits.num_blocks,
        block_size=core.limits.block_size,
        max_model_len=core.limits.max_model_len,
        vocab_size=core.limits.vocab_size,
        load_s=time.monotonic() - started,
    )
    return Rank(worker, description)


def _build(
    name: str, options: EngineActorOptions, node_address: str, on_progress: OnProgress
) -> tuple[EngineCore, LocalPool]:
    """The engine, with a pool that prefill workers can write to."""
    pools: list[LocalPool] = []
    has_other_hosts = not ip_address(node_address).is_loopback

    def make_pool(spec: KVCacheSpec, num_blocks: int, device: torch.device) -> torch.Tensor:
        on_progress(LoadProgress("allocating the KV cache"))
        pools.append(
            make_local_pool(name, spec, num_blocks, device, options.kv_transport, has_other_hosts)
        )
        return pools[0].tensor

    core = EngineCore.build(options.engine, make_pool, on_progress, expects_forms=True)
    compile_transfers(pools[0].tensor)
    return core, pools[0]


def _node_address() -> str:
    """The address by which Ray knows this node: loopback for a cluster on one machine."""
    node_id = ray.get_runtime_context().get_node_id()
    return str(
        next(node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == node_id)
    )


async def _serve_router(worker: Worker, read: Read, write: Write) -> None:
    await worker.serve_router(Stream(read, write, ToWorker, Pong()))


async def _serve_decode(worker: Worker, read: Read, write: Write) -> None:
    await worker.serve_decode(Stream(read, write, ToPrefill, Heartbeat()))
