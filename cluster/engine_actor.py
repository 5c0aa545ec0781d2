"""One tensor-parallel rank of a worker, as a Ray actor.

    actor's event loop   gRPC server (routers, decode workers), Worker, health
    engine thread        EngineCore: schedule, run, update
    other threads        pushes, digests, loading

The actor's calls serve its life alone: load, describe, health, and blocks that come through the
object store. Tokens never travel as the results of calls.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
import torch

from legato.cluster.channel import Stream, StreamServer
from legato.cluster.logs import configure_logging
from legato.cluster.membership import ActorName
from legato.cluster.sink import LocalPool
from legato.cluster.transfer.object_store import BlockData
from legato.cluster.transfer.shared_memory import SharedPool
from legato.cluster.wire import Heartbeat, Pong, Report, ToPrefill, ToWorker
from legato.cluster.worker import Worker
from legato.engine.config import EngineConfig
from legato.engine.core import EngineCore
from legato.engine.errors import EngineError
from legato.engine.kv_cache import KVCacheSpec

REPORT_S = 0.1
TICK_S = 1.0
# A step longer than this is taken for a hang: the longest honest one is a prefill chunk on a CPU.
HUNG_AFTER_S = 120.0

logger = logging.getLogger(__name__)
Read = Callable[[], Awaitable[Any]]
Write = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class EngineActorOptions:
    """What an engine actor is told at its birth."""

    engine: EngineConfig
    secret: str  # that every stream in the cluster must present
    num_threads: int | None = None  # of torch on a CPU; None: torch's own choice


@dataclass(frozen=True, slots=True)
class WorkerDescription:
    """What routers and operators may know of a worker once it is up."""

    worker: str  # the rank-0 actor's name
    role: str
    address: str  # host:port of its gRPC server
    device: str
    dtype: str
    num_blocks: int
    block_size: int  # tokens
    max_model_len: int  # tokens
    vocab_size: int
    load_s: float  # from the actor's start until it serves

    @property
    def num_kv_tokens(self) -> int:
        return self.num_blocks * self.block_size


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far a worker has come."""

    stage: str
    done_bytes: int = 0
    total_bytes: int = 0


class EngineRank:
    """The actor's state; see the module."""

    def __init__(self, name: str, options: EngineActorOptions) -> None:
        parsed = ActorName.parse(name)
        assert parsed is not None, f"not an engine actor's name: {name}"
        configure_logging()
        self._name = name
        self._role = parsed.role
        self._options = options
        self._progress = LoadProgress("starting")
        self._description: asyncio.Future[WorkerDescription] | None = None
        self._worker: Worker | None = None
        self._pool: tuple[SharedPool, torch.Tensor] | None = None
        self._server: StreamServer | None = None
        self._died = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    # ------------------------------------------------------------------ life

    async def load(self) -> WorkerDescription:
        """Loads the model and starts serving. Raises ConfigError if the model cannot be served."""
        started = time.monotonic()
        if self._options.num_threads is not None:
            torch.set_num_threads(self._options.num_threads)
        core = await asyncio.to_thread(self._build_core)
        pool = self._describe_pool(core.limits.block_size)
        worker = Worker(self._name, self._role, core, pool, self._options.secret)
        server = StreamServer(
            self._options.secret,
            {
                "Generate": partial(_serve_router, worker),
                "Handover": partial(_serve_decode, worker),
            },
        )
        address = await server.start(node_address())
        worker.start()
        self._worker, self._server = worker, server
        self._tasks = [asyncio.create_task(self._report()), asyncio.create_task(self._tick())]
        description = WorkerDescription(
            worker=self._name,
            role=self._role,
            address=address,
            device=pool.tensor.device.type,
            dtype=pool.descriptor.dtype,
            num_blocks=core.limits.num_blocks,
            block_size=core.limits.block_size,
            max_model_len=core.limits.max_model_len,
            vocab_size=core.limits.vocab_size,
            load_s=time.monotonic() - started,
        )
        self._progress = LoadProgress("ready")
        self._ready().set_result(description)
        return description

    async def describe(self) -> WorkerDescription:
        """Waits until the worker serves, and says where."""
        return await asyncio.shield(self._ready())

    async def progress(self) -> LoadProgress:
        return self._progress

    async def report(self) -> Report | None:
        """The last report that routers were sent; None before the first."""
        return self._worker.last_report if self._worker is not None else None

    async def is_healthy(self) -> bool:
        """Whether the engine lives and makes progress; a worker that still loads is healthy."""
        return self._worker is None or self._worker.is_healthy(HUNG_AFTER_S)

    async def wait_until_dead(self) -> str:
        """Returns the reason when the engine has died; the process is of no use then."""
        while self._worker is None or self._worker.failure is None:
            await asyncio.sleep(0.2)
        return self._worker.failure

    async def process_id(self) -> int:
        return os.getpid()

    # ------------------------------------------------------------------ blocks from other hosts

    async def receive_blocks(
        self, handle: bytes, writer: str, block_ids: list[int], data: BlockData
    ) -> bool:
        """See legato.cluster.transfer.object_store.BlockReceiver."""
        if self._worker is None:
            return False
        return await self._worker.sink.receive_blocks(handle, writer, block_ids, data)

    # ------------------------------------------------------------------ parts

    def _ready(self) -> "asyncio.Future[WorkerDescription]":
        if self._description is None:
            self._description = asyncio.get_running_loop().create_future()
        return self._description

    def _build_core(self) -> EngineCore:
        self._progress = LoadProgress("loading weights")
        return EngineCore.build(self._options.engine, self._make_pool, self._on_progress)

    def _on_progress(self, done_bytes: int, total_bytes: int) -> None:
        self._progress = LoadProgress("loading weights", done_bytes, total_bytes)

    def _make_pool(self, spec: KVCacheSpec, num_blocks: int) -> torch.Tensor:
        """A pool that prefill workers on this host can write to."""
        self._progress = LoadProgress("allocating the KV cache")
        shared = SharedPool(num_blocks * spec.bytes_per_block)
        tensor = shared.buffer.view(spec.dtype).view(spec.pool_shape(num_blocks))
        self._pool = shared, tensor
        return tensor

    def _describe_pool(self, block_size: int) -> LocalPool:
        assert self._pool is not None, "the core is built, and so is its pool"
        shared, tensor = self._pool
        return LocalPool(tensor, shared.describe(self._name, tensor), block_size)

    async def _report(self) -> None:
        while self._worker is not None:
            self._worker.broadcast_report()
            await asyncio.sleep(REPORT_S)

    async def _tick(self) -> None:
        while self._worker is not None:
            try:
                await self._worker.tick()
            except ray.exceptions.RayError as error:
                logger.warning("the control plane is away: %s", error)
            await asyncio.sleep(TICK_S)


def node_address() -> str:
    """The address by which Ray knows this node: loopback for a cluster on one machine."""
    node_id = ray.get_runtime_context().get_node_id()
    return str(next(node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == node_id))


async def _serve_router(worker: Worker, read: Read, write: Write) -> None:
    await worker.serve_router(Stream(read, write, ToWorker, Pong()))


async def _serve_decode(worker: Worker, read: Read, write: Write) -> None:
    await worker.serve_decode(Stream(read, write, ToPrefill, Heartbeat()))


EngineActor = ray.remote(EngineRank)
