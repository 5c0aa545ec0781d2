"""A real cluster without HTTP: Ray, engine actors in gangs, a router's client in this process."""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from legato.cluster.client import ClientOptions, ClusterClient
from legato.cluster.engine_actor import EngineActorOptions
from legato.cluster.gang import Gang, GangResources
from legato.cluster.generation import GenerationEvent, GenerationRequest
from legato.cluster.membership import NAMESPACE, ActorName
from legato.cluster.placement import Decision, Placement, Role
from legato.cluster.transfer.transport import KVTransport
from legato.cluster.wire import Report, StageTimes
from legato.engine.batch import SequenceRequest
from legato.engine.config import EngineConfig
from legato.engine.core import EngineCore
from legato.engine.sampling_params import SamplingParams


@dataclass
class Observations:
    """What the client reported, for tests to look at."""

    decisions: list[Decision] = field(default_factory=list)
    predicted_ttfts_s: list[float] = field(default_factory=list)
    first_tokens: list[tuple[float, float]] = field(default_factory=list)  # predicted, actual
    handovers: list[tuple[str, StageTimes]] = field(default_factory=list)
    handover_gaps_s: list[float] = field(default_factory=list)
    num_failovers: int = 0

    def on_placement(self, placement: Placement) -> None:
        self.decisions.append(placement.decision)
        self.predicted_ttfts_s.append(placement.predicted_ttft_s)

    def on_first_token(self, predicted_ttft_s: float, actual_ttft_s: float) -> None:
        self.first_tokens.append((predicted_ttft_s, actual_ttft_s))

    def on_handover(self, outcome: str, times: StageTimes, gap_s: float | None) -> None:
        self.handovers.append((outcome, times))
        if gap_s is not None:
            self.handover_gaps_s.append(gap_s)

    def on_failover(self) -> None:
        self.num_failovers += 1

    def on_report(self, report: Report) -> None:
        """Not looked at."""

    def on_worker_lost(self, worker: str) -> None:
        """Not looked at."""


def greedy(prompt: list[int], max_tokens: int, **params: Any) -> GenerationRequest:
    """A greedy request that does not stop before `max_tokens`."""
    return GenerationRequest(
        prompt_token_ids=tuple(prompt),
        params=SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True, **params),
        sampling_seed=7,
        priority=0,
        salt=b"",
    )


def answers_of_one_engine(
    core: EngineCore, requests: Sequence[GenerationRequest]
) -> list[list[int]]:
    """The tokens of each answer; no other request is in the engine meanwhile."""
    answers = []
    for one in requests:
        core.add(SequenceRequest(one.prompt_token_ids, one.params, one.sampling_seed))
        tokens: list[int] = []
        while core.has_work():
            tokens += [token for out in core.step().outputs for token in out.token_ids]
        answers.append(tokens)
    return answers


class Cluster:
    """Workers and a client."""

    def __init__(self, client: ClientOptions, options: EngineActorOptions):
        self.seen = Observations()
        self.client = ClusterClient(client, self.seen)
        self.gangs: list[Gang] = []
        self._application = client.application
        self._options = options

    async def add_worker(self, role: Role, node_id: str | None = None) -> Gang:
        gang = Gang.start(
            ActorName.fresh(self._application, role),
            self._options,
            GangResources(num_cpus=0.01, num_gpus=0),
            node_id=node_id,
        )
        self.gangs.append(gang)
        await gang.load()
        return gang

    async def stop_prefill(self) -> None:
        """Leaves the decode workers alone."""
        leaving = [gang for gang in self.gangs if gang.name.role is Role.PREFILL]
        for gang in leaving:
            gang.stop()
            self.gangs.remove(gang)
        await self.until(lambda: len(self.client.reports()) == len(self.gangs))

    async def generate(self, request: GenerationRequest) -> list[int]:
        """All output tokens."""
        return [token async for event in self.events(request) for token in event.token_ids]

    async def events(self, request: GenerationRequest) -> AsyncIterator[GenerationEvent]:
        stream = self.client.generate(request)
        try:
            async for event in stream:
                yield event
        finally:
            await stream.aclose()

    def actor(self, gang: Gang) -> Any:
        return ray.get_actor(str(gang.name), NAMESPACE)

    async def process_id(self, gang: Gang) -> int:
        process_id: int = await self.actor(gang).process_id.remote()
        return process_id

    async def signal_worker(self, gang: Gang, number: signal.Signals) -> None:
        """As an operator (or the kernel) would."""
        os.kill(await self.process_id(gang), number)

    async def until_handed_over(self, request: GenerationRequest) -> list[GenerationEvent]:
        """Asks again and again: on a busy machine an answer can be over before its transfer."""
        for _ in range(50):
            answer = [event async for event in self.events(request)]
            if self.seen.handovers[-1][0] == "handed_over":
                return answer
        raise AssertionError("nothing was handed over")

    async def until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Returns as soon as `condition` holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            await asyncio.sleep(0.02)

    async def until_idle(self) -> None:
        """Returns when every worker reports all its blocks free and nothing to do."""
        await self.until(lambda: all(map(is_idle, self.client.reports())))


def is_idle(report: Report) -> bool:
    return (
        report.num_free_blocks == report.num_total_blocks
        and report.num_running == report.num_waiting == 0
        and report.num_reserved_blocks == report.num_quarantined_blocks == 0
    )


@asynccontextmanager
async def cluster(
    model: Path,
    local_prefill_max_tokens: int | None = 0,
    num_prefill: int = 1,
    num_decode: int = 1,
    kv_transport: KVTransport = KVTransport.AUTO,
    worker_wait_s: float = 60.0,
    **engine: Any,
) -> AsyncIterator[Cluster]:
    """A cluster on the running Ray; by default every prompt is prefilled by the prefill worker."""
    config = EngineConfig.from_options(
        {
            "model": str(model),
            "dtype": "float32",
            "device": "cpu",
            "num_gpu_blocks_override": 200,
            "max_num_batched_tokens": 64,
            **engine,
        }
    )
    options = EngineActorOptions(config, secrets.token_hex(16), 1, kv_transport)
    client = ClientOptions(
        secrets.token_hex(4),
        options.secret,
        local_prefill_max_tokens=local_prefill_max_tokens,
        worker_wait_s=worker_wait_s,
    )
    running = Cluster(client, options)
    try:
        roles = [Role.PREFILL] * num_prefill + [Role.DECODE] * num_decode
        await asyncio.gather(*(running.add_worker(role) for role in roles))
        await running.client.start()
        await running.until(lambda: len(running.client.reports()) == len(roles))
        yield running
    finally:
        await running.client.stop()
        for gang in running.gangs:
            gang.stop()
