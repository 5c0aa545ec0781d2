"""The router's way into the cluster: finds the workers, places sequences, survives their loss.

    generate(request) -> Run -> place() -> Submit to D and P -> events
                          ^                     |
                          '--- a worker is lost-'   again, from the prompt and what was emitted

One client for each router process, on its event loop.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace

import msgspec
import ray

from legato.cluster.engine_actor import WorkerDescription
from legato.cluster.generation import GenerationEvent, GenerationRequest
from legato.cluster.membership import NAMESPACE, live_workers
from legato.cluster.observer import ClusterObserver
from legato.cluster.placement import Demand, Placement, Role, WorkerLoad, place
from legato.cluster.prefix_index import PrefixIndex
from legato.cluster.run import Attempt, Run, RunHalf
from legato.cluster.wire import Peer, Report, Submit
from legato.cluster.worker_link import WorkerLink
from legato.engine.block_hash import block_hashes, extend_hashes
from legato.engine.errors import EngineError, NoWorkerError, OverloadedError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How a router uses the cluster."""

    application: str
    secret: str
    max_queued_requests: int = 1024  # over all workers, before new ones are refused
    local_prefill_max_tokens: int | None = None  # see placement.Demand
    max_attempts: int = 4  # for one sequence, each on other workers
    worker_wait_s: float = 60.0  # for a replacement, when no worker is left
    poll_s: float = 0.5  # how often Ray is asked who is there


class ClusterClient:
    """Generates sequences on the application's workers."""

    def __init__(self, options: ClientOptions, observer: ClusterObserver) -> None:
        self._options = options
        self._observer = observer
        self._links: dict[str, WorkerLink] = {}
        self._members: set[str] = set()  # by Ray's table, when it was read last
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._prefixes = PrefixIndex()
        self._poller: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._is_stopping = False

    async def start(self) -> None:
        """Begins to follow the membership; returns at once."""
        self._poller = asyncio.create_task(self._follow_membership())

    async def wait_for_worker(self, timeout_s: float) -> bool:
        """Returns, as soon as one can be used or the time is over, whether one can."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self.links:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def configure(self, max_queued_requests: int, local_prefill_max_tokens: int | None) -> None:
        """See ClientOptions; from the next sequence on."""
        self._options = replace(
            self._options,
            max_queued_requests=max_queued_requests,
            local_prefill_max_tokens=local_prefill_max_tokens,
        )

    async def stop(self) -> None:
        """Leaves all workers; sequences that run end with an error."""
        self._is_stopping = True
        self._changed.set()
        tasks = [*self._tasks.values(), *([self._poller] if self._poller else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------ what is there

    @property
    def links(self) -> list[WorkerLink]:
        """The workers that can be used now."""
        return [link for link in self._links.values() if link.is_usable]

    @property
    def _places(self) -> list[WorkerLink]:
        """Where new sequences may go: on workers that stay and are heard, if there are any."""
        links = self.links
        staying = [link for link in links if not link.is_leaving] or links
        return [link for link in staying if not link.is_quiet] or staying

    def reports(self) -> list[Report]:
        """The last report of each usable worker."""
        return [link.report for link in self.links if link.report is not None]

    def descriptions(self) -> list[WorkerDescription]:
        return [link.description for link in self.links]

    def check_admission(self, num_sequences: int, num_tokens: int) -> None:
        """Refuses what would only wait.

        Raises:
            NoWorkerError: no worker is there.
            OverloadedError: the queues are full; `num_tokens` shows in the time to retry after.
        """
        reports = self.reports()
        if not reports:
            raise NoWorkerError("no worker is ready yet; try again in a moment", retry_after_s=2)
        num_waiting = sum(report.num_waiting for report in reports)
        if num_waiting + num_sequences > self._options.max_queued_requests:
            rate = sum(report.prefill_tokens_per_s for report in reports) or 1e4
            queued = sum(report.num_queued_prefill_tokens for report in reports)
            raise OverloadedError(
                f"{num_waiting} sequences are waiting already; try again later",
                retry_after_s=min(max((queued + num_tokens) / rate, 1.0), 60.0),
            )

    # ------------------------------------------------------------------ one sequence

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """The events of one sequence; closing the iterator cancels it everywhere.

        Raises:
            RequestError: it can never be served.
            CapacityError: there is no room for it now.
            EngineError: it was lost too often.
        """
        run = Run(request)
        try:
            while True:
                await self._begin_attempt(run)
                while (event := await run.next_event()) is not None:
                    if event.num_cached_tokens is not None:
                        self._on_first_event(run)
                    yield event
                    if event.finish_reason is not None:
                        return
                self._check_retry(run)
        finally:
            run.end(cancel=True)
            self._remember(run)
            if run.is_disaggregated:
                outcome = "handed_over" if run.was_handed_over else "stayed"
                self._observer.on_handover(outcome, run.times, run.handover_gap_s)

    def _on_first_event(self, run: Run) -> None:
        self._observer.on_first_token(run.predicted_ttft_s, time.monotonic() - run.placed_at)

    def _remember(self, run: Run) -> None:
        """The answer's blocks are in its worker's cache too: a next turn begins with them."""
        link = self._links.get(run.worker or "")
        if link is None or link.report is None:
            return
        known = [*run.request.prompt_token_ids, *run.output_token_ids]
        block_size = link.report.block_size
        num_computed_blocks = (len(known) - 1) // block_size  # nobody asked for the last token's KV
        extend_hashes(run.block_hashes, known, block_size, run.request.salt, num_computed_blocks)
        self._prefixes.record(link.name, run.block_hashes, link.report.num_total_blocks)

    def _check_retry(self, run: Run) -> None:
        """Raises the run's error unless another attempt makes sense."""
        error = run.failure()
        if not isinstance(error, EngineError) or run.num_attempts >= self._options.max_attempts:
            raise error
        self._observer.on_failover()
        logger.warning("a sequence is taken up again elsewhere: %s", error)

    async def _begin_attempt(self, run: Run) -> None:
        placement = await self._place(run)
        run.placed(placement)
        request = run.request
        decode = RunHalf(run, self._links[placement.decode])
        submit = Submit(
            request=decode.request,
            prompt_token_ids=list(request.prompt_token_ids),
            output_token_ids=list(run.output_token_ids),
            params=request.params,
            sampling_seed=request.sampling_seed,
            priority=request.priority,
            salt=request.salt,
        )
        if placement.prefill is None:
            run.begin(Attempt(decode=decode))
            decode.link.submit(submit, decode)
            return
        prefill = RunHalf(run, self._links[placement.prefill])
        run.begin(Attempt(prefill=prefill, decode=decode))
        self._submit_pair(submit, prefill, decode)

    @staticmethod
    def _submit_pair(submit: Submit, prefill: RunHalf, decode: RunHalf) -> None:
        transfer = secrets.token_bytes(16)
        at_prefill = Peer(prefill.link.name, prefill.link.description.address, transfer)
        at_decode = Peer(decode.link.name, decode.link.description.address, transfer)
        decode.link.submit(msgspec.structs.replace(submit, prefill_at=at_prefill), decode)
        prefill.link.submit(
            msgspec.structs.replace(submit, request=prefill.request, decode_at=at_decode), prefill
        )

    async def _place(self, run: Run) -> Placement:
        """Waits for a worker if there is none, as after the loss of the only one.

        Raises:
            NoWorkerError: none came in time.
        """
        deadline = time.monotonic() + self._options.worker_wait_s
        while (placement := self._try_place(run)) is None:
            if self._is_stopping:
                raise NoWorkerError("the server is shutting down", retry_after_s=5)
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), deadline - time.monotonic())
            except TimeoutError:
                raise NoWorkerError(
                    "no worker is ready; try again later", retry_after_s=5
                ) from None
        return placement

    def _try_place(self, run: Run) -> Placement | None:
        links = self._places
        if not links:
            return None
        known = [*run.request.prompt_token_ids, *run.output_token_ids]
        block_size = links[0].description.block_size
        hashes = run.block_hashes = block_hashes(known, block_size, run.request.salt)
        demand = Demand(
            num_prompt_tokens=len(known),
            ends_at_first_token=run.num_tokens_left == 1,
            local_prefill_max_tokens=self._options.local_prefill_max_tokens,
        )
        # The last token is always computed, so a block that it fills is no hit.
        usable = hashes[: (len(known) - 1) // block_size]
        placement = place(demand, [self._load(link, usable) for link in links])
        if placement is not None:
            self._observer.on_placement(placement)
            for name in filter(None, (placement.prefill, placement.decode)):
                link = self._links[name]
                capacity = link.report.num_total_blocks if link.report else 0
                self._prefixes.record(link.name, hashes, capacity)
        return placement

    def _load(self, link: WorkerLink, hashes: list[bytes]) -> WorkerLoad:
        report = link.report
        assert report is not None  # a usable link has one
        cached_blocks = self._prefixes.num_cached_blocks(link.name, hashes)
        return WorkerLoad(
            worker=link.name,
            role=Role(report.role),
            num_queued_prefill_tokens=report.num_queued_prefill_tokens + link.num_unreported_tokens,
            num_running=max(report.num_running, 0),
            num_free_blocks=report.num_free_blocks,
            num_total_blocks=report.num_total_blocks,
            block_size=report.block_size,
            bytes_per_block=report.bytes_per_block,
            prefill_tokens_per_s=report.prefill_tokens_per_s,
            step_time_s=report.step_time_s,
            transfer_bytes_per_s=report.transfer_bytes_per_s,
            num_cached_tokens=cached_blocks * report.block_size,
        )

    # ------------------------------------------------------------------ membership

    async def _follow_membership(self) -> None:
        while True:
            try:
                names = await asyncio.to_thread(live_workers, self._options.application)
            except ray.exceptions.RayError as error:  # the control plane is away: keep what we have
                logger.warning("cannot read the membership: %s", error)
            else:
                self._members = set(map(str, names))
                for name in self._members:
                    if name not in self._tasks:
                        self._tasks[name] = asyncio.create_task(self._follow_worker(name))
            await asyncio.sleep(self._options.poll_s)

    async def _follow_worker(self, name: str) -> None:
        """One worker, while Ray knows it.

        It is asked once who it is. A call of Ray's over a cut cable does not come back when the
        cable does: what is cut is found again by a new stream.
        """
        try:
            with contextlib.suppress(ray.exceptions.RayError, ValueError):  # it is gone again
                actor = await asyncio.to_thread(ray.get_actor, name, NAMESPACE)
                description: WorkerDescription = await actor.describe.remote()
                while name in self._members:
                    await self._use_worker(description)
                    await asyncio.sleep(self._options.poll_s)
        finally:
            del self._tasks[name]

    async def _use_worker(self, description: WorkerDescription) -> None:
        """Until its stream ends."""
        name = description.worker
        link = WorkerLink(description, self._options.secret, self._on_report)
        self._links[name] = link
        try:
            await link.run()
        finally:
            del self._links[name]
            if link.report is not None:  # it was usable
                self._on_lost(link)

    def _on_lost(self, link: WorkerLink) -> None:
        self._prefixes.forget(link.name)
        self._observer.on_worker_lost(link.name)
        if link.is_leaving:
            logger.info("worker %s has left", link.name)
        else:
            logger.warning("lost worker %s", link.name)

    def _on_report(self, report: Report) -> None:
        self._changed.set()
        self._observer.on_report(report)

    # ------------------------------------------------------------------ state for the API

    def is_ready(self) -> bool:
        """Whether some worker that generates can be used."""
        return bool(self.links)

    def load(self) -> Mapping[str, float]:
        """Sequences running and waiting, over all workers."""
        reports = self.reports()
        return {
            "num_running": float(sum(report.num_running for report in reports)),
            "num_waiting": float(sum(report.num_waiting for report in reports)),
        }
