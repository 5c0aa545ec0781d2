"""A worker without a model: every sequence gets its next token when the clock says so.

It stands where a worker stands (a named Ray actor that speaks the stream protocol), so that a
router can be measured for itself.
"""

import asyncio
import time

import ray
import ray.util

from legato.cluster.channel import Stream, StreamServer
from legato.cluster.engine_actor import WorkerDescription
from legato.cluster.interpreter import calm_collector
from legato.cluster.wire import Cancel, Pong, Report, StageTimes, Submit, Tokens, ToWorker
from legato.engine.batch import FinishReason

Streams = dict[int, tuple[Submit, int]]  # request -> (its Submit, tokens sent so far)


class PacedEngine:
    """Sends each running sequence one token a step; all of a step go in one frame."""

    def __init__(self, name: str, secret: str, step_s: float, vocab_size: int) -> None:
        self._name = name
        self._step_s = step_s
        self._vocab_size = vocab_size
        self._sessions: dict[Stream[ToWorker], Streams] = {}
        self._server = StreamServer(secret, {"Generate": self._serve})
        self._pacer: asyncio.Task[None] | None = None
        self._address = ""
        self._step_times: list[float] = []

    async def load(self) -> None:
        """Starts to listen and to pace."""
        calm_collector()
        self._address = await self._server.start("127.0.0.1")
        self._pacer = asyncio.create_task(self._pace())

    async def describe(self) -> WorkerDescription:
        return WorkerDescription(
            worker=self._name,
            role="decode",
            address=self._address,
            device="none",
            dtype="none",
            num_blocks=1 << 20,
            block_size=16,
            max_model_len=2048,
            vocab_size=self._vocab_size,
            load_s=0.0,
        )

    async def step_times(self) -> list[float]:
        """When each step was sent, on the machine's monotonic clock."""
        return self._step_times

    async def _serve(self, read, write) -> None:  # type: ignore[no-untyped-def]
        stream: Stream[ToWorker] = Stream(read, write, ToWorker, Pong())
        running = self._sessions[stream] = {}
        try:
            await stream.run(lambda message: self._on_message(running, message))
        finally:
            del self._sessions[stream]

    def _on_message(self, running: Streams, message: ToWorker) -> None:
        if isinstance(message, Submit):
            running[message.request] = (message, 0)
        elif isinstance(message, Cancel):
            running.pop(message.request, None)

    async def _pace(self) -> None:
        due = time.monotonic()
        while True:
            due += self._step_s
            await asyncio.sleep(max(due - time.monotonic(), 0))
            self._step_times.append(time.monotonic())
            for stream, running in self._sessions.items():
                self._step(stream, running)
                stream.send(self._report(len(running)))

    def _step(self, stream: Stream[ToWorker], running: Streams) -> None:
        for request, (submit, position) in list(running.items()):
            is_last = position + 1 == submit.params.max_tokens
            stream.send(
                Tokens(
                    request,
                    position,
                    [self._token(request, position)],
                    [],
                    FinishReason.LENGTH if is_last else None,
                    None,
                    StageTimes() if position == 0 else None,
                )
            )
            running[request] = (submit, position + 1)
            if is_last:
                del running[request]

    def _token(self, request: int, position: int) -> int:
        """Any ordinary token of a byte-level vocabulary: letters come early in it."""
        return 40 + (request * 7 + position) % 50

    def _report(self, num_running: int) -> Report:
        return Report(
            worker=self._name,
            role="decode",
            num_running=num_running,
            num_waiting=0,
            num_queued_prefill_tokens=0,
            num_free_blocks=1 << 20,
            num_total_blocks=1 << 20,
            block_size=16,
            num_reserved_blocks=0,
            num_quarantined_blocks=0,
            prefill_tokens_per_s=1e6,
            step_time_s=self._step_s,
            transfer_bytes_per_s=1e9,
            bytes_per_block=1,
            counters={},
        )


PacedEngineActor = ray.remote(PacedEngine)
