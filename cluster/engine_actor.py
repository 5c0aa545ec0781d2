"""A rank's Ray actor, as other processes see it: what it is told, what it tells, its calls.

The calls serve its life alone: load, describe, health, and blocks that come through the object
store. Tokens never travel as the results of calls.

Those who hold a handle (replicas, routers, the console) import this module. The engine itself, and
with it torch, is imported by the actor's own process when it loads: it would cost every other
process two seconds and 200 MB.
"""

import asyncio
import os
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import ray

from legato.cluster.logs import configure_logging
from legato.cluster.membership import ActorName
from legato.cluster.transfer.transport import KVTransport
from legato.cluster.wire import Report
from legato.engine.config import EngineConfig
from legato.engine.load_progress import LoadProgress

RANK_MODULE = "legato.cluster.rank"
# A step longer than this is taken for a hang: the longest honest one is a prefill chunk on a CPU.
HUNG_AFTER_S = 120.0


@dataclass(frozen=True, slots=True)
class EngineActorOptions:
    """What an engine actor is told at its birth."""

    engine: EngineConfig
    secret: str  # that every stream in the cluster must present
    num_threads: int | None = None  # of torch on a CPU; None: torch's own choice
    kv_transport: KVTransport = KVTransport.AUTO


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
    load_s: float  # from the beginning of loading until it serves

    @property
    def num_kv_tokens(self) -> int:
        return self.num_blocks * self.block_size

    @property
    def max_concurrency(self) -> float:
        """Sequences of the longest kind that the KV cache holds at once."""
        return self.num_kv_tokens / self.max_model_len


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Who still needs a worker."""

    num_requests: int  # that routers have sent and that are not over
    num_routers: int
    is_leaving: bool


class EngineRank:
    """The actor. Its Rank (cluster/rank.py) is there once `load` has returned."""

    def __init__(self, name: str, options: EngineActorOptions) -> None:
        configure_logging()
        parsed = ActorName.parse(name)
        assert parsed is not None, f"not an engine actor's name: {name}"
        self._name = parsed
        self._options = options
        self._progress = LoadProgress("starting")
        self._rank: Any = None  # a Rank, whose type this module must not import
        self._loaded = asyncio.Event()

    async def load(self) -> WorkerDescription:
        """Loads the model and starts serving. Raises ConfigError if the model cannot be served."""
        module = await asyncio.to_thread(import_module, RANK_MODULE)
        self._rank = await module.start(self._name, self._options, self._on_progress)
        self._progress = LoadProgress("ready")
        self._loaded.set()
        return await self.describe()

    async def describe(self) -> WorkerDescription:
        """Waits until the worker serves, and says where."""
        await self._loaded.wait()
        description: WorkerDescription = self._rank.description
        return description

    async def progress(self) -> LoadProgress:
        """How far loading has come."""
        return self._progress

    async def report(self) -> Report | None:
        """The last report that routers were sent; None before the first."""
        report: Report | None = self._rank.worker.last_report if self._rank else None
        return report

    async def configure(self, log_level: str, prefill_token_budget: int | None) -> None:
        """What may change while it serves; None: the whole of a step's token budget."""
        configure_logging(log_level)
        await self._loaded.wait()
        if self._name.rank == 0:  # which schedules for all
            self._rank.worker.set_prefill_token_budget(prefill_token_budget)

    async def leave(self) -> None:
        """Asks routers to place nothing more here; what is here goes on."""
        if self._rank is not None:
            self._rank.worker.leave()

    async def occupancy(self) -> Occupancy | None:
        """None while it loads."""
        if self._rank is None:
            return None
        worker = self._rank.worker
        return Occupancy(worker.num_requests, worker.num_routers, worker.is_leaving)

    async def is_healthy(self) -> bool:
        """Whether the engine lives and makes progress; a worker that still loads is healthy."""
        return self._rank is None or self._rank.worker.is_healthy(HUNG_AFTER_S)

    async def wait_until_dead(self) -> str:
        """Returns the reason when the engine has died; the process is of no use then."""
        await self._loaded.wait()
        reason: str = await self._rank.worker.wait_until_dead()
        return reason

    async def process_id(self) -> int:
        return os.getpid()

    async def receive_blocks(
        self, handle: bytes, writer: str, block_ids: list[int], data: Any
    ) -> bool:
        """See legato.cluster.transfer.object_store.BlockReceiver."""
        await self._loaded.wait()
        taken: bool = await self._rank.worker.sink.receive_blocks(handle, writer, block_ids, data)
        return taken

    def _on_progress(self, progress: LoadProgress) -> None:
        self._progress = progress


EngineActor = ray.remote(EngineRank)
