"""A worker's asyncio side: requests from routers in, tokens out, and handovers beside them.

    routers ==Submit, Cancel==> Worker --add--> EngineLoop        a request for this worker alone
       ^                          |--> HandoverSink --adopt-->    one whose KV comes from P
       |                          |--> HandoverSource             one that leaves for D
       '==Tokens, Failed, Report==' <--StepReport-- EngineLoop

It is the same for both roles. It knows neither Ray nor gRPC: streams come in as objects.
"""

import asyncio
import contextlib
import logging
import time
from functools import partial

from legato.cluster.channel import Stream
from legato.cluster.engine_loop import EngineLoop, StepReport
from legato.cluster.live_request import LiveRequest, failure_of
from legato.cluster.placement import Role
from legato.cluster.rates import Rates
from legato.cluster.sink import HandoverSink
from legato.cluster.source import HandoverSource
from legato.cluster.transfer.local_pool import LocalPool
from legato.cluster.transfer.transport import NOMINAL_BYTES_PER_S
from legato.cluster.wire import (
    Cancel,
    Ping,
    Pong,
    Report,
    StageTimes,
    Submit,
    Tokens,
    ToPrefill,
    ToWorker,
)
from legato.engine.batch import SequenceOutput
from legato.engine.core import EngineCore
from legato.engine.errors import EngineError
from legato.engine.grammar_compiler import GrammarCompiler
from legato.engine.stats import EngineStats

logger = logging.getLogger(__name__)


class Worker:
    """One engine with its requests."""

    def __init__(
        self, name: str, role: Role, core: EngineCore, pool: LocalPool, secret: str
    ) -> None:
        self.name = name
        self.role = role
        self.rates = Rates(NOMINAL_BYTES_PER_S[pool.descriptor.kind])
        self.failure: str | None = None
        self.is_leaving = False
        self._died = asyncio.Event()
        self.last_report: Report | None = None
        self.engine = EngineLoop(core, self._on_step, self._on_death)
        self.sink = HandoverSink(self.engine, pool, secret, self._on_started)
        self.source = HandoverSource(self.engine, pool, self.rates)
        self._pool = pool
        self._grammars = core.grammars
        self._compiling: set[asyncio.Task[None]] = set()
        self._by_seq: dict[int, LiveRequest] = {}
        self._sessions: dict[Stream[ToWorker], dict[int, LiveRequest]] = {}

    def start(self) -> None:
        self.engine.start()

    def leave(self) -> None:
        """Tells routers to place new sequences elsewhere; it still takes those that come."""
        self.is_leaving = True
        self.broadcast_report()

    def set_prefill_token_budget(self, num_tokens: int | None) -> None:
        """See EngineCore.set_prefill_token_budget; None: all of a step's tokens."""
        self.engine.post(
            lambda core: core.set_prefill_token_budget(
                num_tokens or core.limits.max_num_batched_tokens
            )
        )

    @property
    def num_requests(self) -> int:
        """Requests of routers that are not over."""
        return sum(map(len, self._sessions.values()))

    @property
    def num_routers(self) -> int:
        return len(self._sessions)

    # ------------------------------------------------------------------ routers

    async def serve_router(self, stream: Stream[ToWorker]) -> None:
        """Follows the stream from a router until it ends, and then cancels what it asked for."""
        requests = self._sessions[stream] = {}
        try:
            await stream.run(partial(self._on_message, stream, requests))
        finally:
            del self._sessions[stream]
            for live in list(requests.values()):
                self._cancel(live)

    async def serve_decode(self, stream: Stream[ToPrefill]) -> None:
        """Follows the stream from a decode worker that this worker hands sequences to."""
        await self.source.serve(stream)

    def _on_message(
        self, stream: Stream[ToWorker], requests: dict[int, LiveRequest], message: ToWorker
    ) -> None:
        match message:
            case Submit():
                self._submit(stream, requests, message)
            case Cancel(request):
                live = requests.pop(request, None)
                if live is not None:
                    self._cancel(live)
            case Ping():
                stream.send(Pong())

    def _submit(
        self, stream: Stream[ToWorker], requests: dict[int, LiveRequest], submit: Submit
    ) -> None:
        if self.failure is not None:
            stream.send(failure_of(submit.request, EngineError(self.failure)))
            return
        live = LiveRequest(stream, submit, self._forget)
        requests[submit.request] = live
        if submit.params.structured_output is None or self._grammars is None:
            self._start(live)
        else:
            task = asyncio.create_task(self._compile(live, self._grammars))
            self._compiling.add(task)
            task.add_done_callback(self._compiling.discard)

    async def _compile(self, live: LiveRequest, grammars: GrammarCompiler) -> None:
        """Starts a request once its grammar is compiled: the engine's thread must not wait."""
        structured = live.submit.params.structured_output
        assert structured is not None
        with contextlib.suppress(Exception):  # the engine will say it again, and is answered for
            await asyncio.to_thread(grammars.compile_check, structured, "structured_output")
        if not live.is_over:
            self._start(live)

    def _start(self, live: LiveRequest) -> None:
        if live.submit.prefill_at is not None:
            self.sink.submit(live, live.submit.prefill_at)
            return
        self.engine.request(
            lambda core: core.add(live.sequence_request, leaves=live.submit.decode_at is not None),
            partial(self._on_started, live),
            live.fail,
        )

    def _cancel(self, live: LiveRequest) -> None:
        live.is_over = True
        if live.submit.prefill_at is not None and live.seq_id is None:
            self.sink.cancel(live.submit.prefill_at.transfer)
        if live.seq_id is None:
            return
        self._by_seq.pop(live.seq_id, None)
        if not self.source.cancel(live.seq_id):
            self.engine.post(partial(_abort, live.seq_id))

    # ------------------------------------------------------------------ the engine

    def _on_started(self, live: LiveRequest, seq_id: int) -> None:
        """The sequence is in the engine; no step has touched it yet."""
        if live.is_over:
            self.engine.post(partial(_abort, seq_id))
            return
        live.seq_id = seq_id
        self._by_seq[seq_id] = live
        if live.submit.decode_at is not None:
            self.source.begin(live, seq_id, live.submit.decode_at)

    def _on_step(self, report: StepReport) -> None:
        self.rates.add_step(report.result, report.duration_s)
        for output in report.result.outputs:
            live = self._by_seq.get(output.seq_id)
            if live is not None:
                self._send_tokens(live, output)
        self.source.after_step(report.result)

    def _send_tokens(self, live: LiveRequest, output: SequenceOutput) -> None:
        timing = output.timing
        if timing is not None:
            self.rates.add_first_token(timing.queue_s + timing.prefill_s)
            live.times = StageTimes(
                queue_s=timing.queue_s,
                prefill_s=timing.prefill_s,
                num_cached_tokens=output.num_cached_tokens,
            )
        live.stream.send(
            Tokens(
                live.submit.request,
                output.position,
                list(output.token_ids),
                list(output.logprobs),
                output.finish_reason,
                output.stop_token_id,
                live.times if timing is not None else None,
                list(output.prompt_logprobs),
                output.embedding,
            )
        )
        if output.finish_reason is not None:
            live.end()

    def _forget(self, live: LiveRequest) -> None:
        if live.seq_id is not None:
            self._by_seq.pop(live.seq_id, None)
        requests = self._sessions.get(live.stream)
        if requests is not None:
            requests.pop(live.submit.request, None)

    def _on_death(self, error: BaseException) -> None:
        self.failure = str(error) or type(error).__name__
        for requests in self._sessions.values():
            for live in list(requests.values()):
                live.fail(EngineError(self.failure))
        self._died.set()

    async def wait_until_dead(self) -> str:
        """Returns the reason when the engine has died."""
        await self._died.wait()
        return self.failure or "unknown"

    # ------------------------------------------------------------------ reports

    def report(self, stats: EngineStats) -> Report:
        """The worker's load at this moment."""
        totals = stats.totals
        return Report(
            worker=self.name,
            role=self.role,
            num_running=stats.num_running,
            num_waiting=stats.num_waiting,
            num_queued_prefill_tokens=stats.num_queued_prefill_tokens,
            num_free_blocks=stats.num_free_blocks,
            num_total_blocks=stats.num_total_blocks,
            block_size=self._pool.block_size,
            num_reserved_blocks=self.sink.table.num_reserved_blocks,
            num_quarantined_blocks=self.sink.table.num_quarantined_blocks,
            prefill_tokens_per_s=self.rates.prefill_tokens_per_s,
            step_time_s=self.rates.step_time_s,
            transfer_bytes_per_s=self.rates.transfer_bytes_per_s,
            bytes_per_block=self._pool.descriptor.bytes_per_block,
            counters={
                "prompt_tokens": totals.prompt_tokens,
                "generation_tokens": totals.generation_tokens,
                "prefix_cache_queries": totals.prefix_cache_queries,
                "prefix_cache_hits": totals.prefix_cache_hits,
                "preemptions": totals.preemptions,
                "handovers": self.source.num_handed_over,
                **{f"transfer_{reason}": n for reason, n in self.sink.table.counters.items()},
            },
            is_leaving=self.is_leaving,
            ttft_s=self.rates.ttft_s,
            transports=self.source.transports,
        )

    def broadcast_report(self) -> None:
        """Sends every router a fresh report, as soon as the engine is between two steps."""

        def send(stats: EngineStats) -> None:
            self.last_report = self.report(stats)
            for stream in self._sessions:
                stream.send(self.last_report)

        self.engine.request(lambda core: core.stats(), send, lambda error: None)

    async def tick(self) -> None:
        """To be called about once a second."""
        self.source.tick()
        await self.sink.tick()

    def is_healthy(self, hung_after_s: float) -> bool:
        """False if the engine has died, or has made no progress for that long."""
        idle_s = time.monotonic() - self.engine.last_progress
        return self.failure is None and self.engine.is_alive and idle_s < hung_after_s


def _abort(seq_id: int, core: EngineCore) -> None:
    core.abort(seq_id)
