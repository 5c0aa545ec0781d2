"""Answers that a test follows while it does something to the cluster."""

import asyncio
import time
from collections.abc import Iterator

from legato.cluster.gang import Gang
from legato.cluster.generation import GenerationRequest
from legato.cluster.placement import Role
from legato.tests.cluster.harness import Cluster

END_S = 60.0


class Streams:
    """Requests that run, and what has come of each answer so far."""

    def __init__(self, running: Cluster, requests: list[GenerationRequest]) -> None:
        self.answers: list[list[int]] = [[] for _ in requests]
        self.workers: list[str] = ["" for _ in requests]  # where each is generated
        self.longest_gap_s = 0.0  # between two events of an answer
        self._running = running
        self._following = asyncio.gather(*map(self._follow, range(len(requests)), requests))

    @property
    def are_over(self) -> bool:
        return self._following.done()

    def at_work(self, role: Role) -> Iterator[Gang]:
        """Workers that generate an answer."""
        gangs = (gang for gang in self._running.gangs if gang.name.role is role)
        return (gang for gang in gangs if str(gang.name) in self.workers)

    async def end(self) -> list[list[int]]:
        """The whole answers."""
        async with asyncio.timeout(END_S):
            await self._following
        return self.answers

    async def _follow(self, index: int, request: GenerationRequest) -> None:
        last_at: float | None = None
        async for event in self._running.events(request):
            now = time.monotonic()
            self.longest_gap_s = max(self.longest_gap_s, now - (last_at or now))
            last_at = now
            self.answers[index] += event.token_ids
            self.workers[index] = event.worker or self.workers[index]
