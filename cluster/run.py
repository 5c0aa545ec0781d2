"""One sequence's life as the router sees it: one or two workers at a time, one stream of tokens.

    PLACED --Tokens--> STREAMING --finish_reason--> DONE
       ^                   |
       '---- next attempt -+--all halves lost      FAILED: nobody can, or the client's fault

An attempt has a `prefill` half, a `decode` half or both. Tokens carry their output position, so it
does not matter from which half they come: what is known already is dropped, what comes early is
kept until the gap closes. A lost half ends the attempt only if the other cannot go on alone. The
next attempt starts from the prompt and the tokens that the client has already.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

from legato.cluster.generation import GenerationEvent, GenerationRequest
from legato.cluster.placement import Decision, Placement
from legato.cluster.wire import Failed, HandedOver, StageTimes, Tokens
from legato.cluster.worker_link import WorkerLink
from legato.engine.errors import (
    EngineError,
    InvalidRequestError,
    LegatoError,
    OverloadedError,
    WorkerLostError,
)


def error_of(failure: Failed) -> LegatoError:
    """The error that a worker's failure message stands for."""
    if failure.kind == "client":
        error = InvalidRequestError(failure.message, failure.param)
        error.code = failure.code
        return error
    if failure.kind == "capacity":
        return OverloadedError(failure.message)
    return WorkerLostError(failure.message)


class RunHalf:
    """A run's presence on one worker."""

    def __init__(self, run: "Run", link: WorkerLink) -> None:
        self.run = run
        self.link = link
        self.request = link.next_request()

    def on_message(self, message: Tokens | HandedOver | Failed) -> None:
        self.run.on_message(self, message)

    def drop(self, cancel: bool) -> None:
        self.link.drop(self.request, cancel)


@dataclass(slots=True)
class Attempt:
    """The halves still at work; at most one of them ends up with the stream."""

    prefill: RunHalf | None = None
    decode: RunHalf | None = None
    decode_streams: bool = False  # tokens came from it: it needs the other half no more
    failures: list[Failed] = field(default_factory=list)

    @property
    def halves(self) -> list[RunHalf]:
        return [half for half in (self.prefill, self.decode) if half is not None]

    def remove(self, half: RunHalf) -> None:
        if half is self.prefill:
            self.prefill = None
        elif half is self.decode:
            self.decode = None


class Run:
    """The events of one sequence, whatever happens to the workers behind it."""

    def __init__(self, request: GenerationRequest) -> None:
        self.request = request
        self.output_token_ids: list[int] = []
        self.times = StageTimes()
        self.attempt = Attempt()
        self.num_attempts = 0
        self.predicted_ttft_s = 0.0
        self.placed_at = 0.0  # time.monotonic() of the last placement
        self.is_disaggregated = False  # of the last attempt
        self.was_handed_over = False  # in any attempt
        self.handover_gap_s: float | None = None  # from P's last token to D's first
        self.worker: str | None = None  # where the last event came from
        self.block_hashes: list[bytes] = []  # of what was known at the last placement
        self._early: dict[int, tuple[Tokens, str]] = {}  # by position; with their worker
        self._prefill_worker: str | None = None  # of the last attempt, if it has two
        self._emitted_at = 0.0  # time.monotonic() of the last event
        self._events: deque[GenerationEvent] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._is_first = True

    @property
    def num_tokens_left(self) -> int | None:
        """That may still be generated; None: up to the model's context."""
        limit = self.request.params.max_tokens
        return None if limit is None else limit - len(self.output_token_ids)

    async def next_event(self) -> GenerationEvent | None:
        """The next event; None when the attempt has failed and no event is left."""
        while not self._events:
            if not self.attempt.halves:
                return None
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        return self._events.popleft()

    def placed(self, placement: Placement) -> None:
        """Takes note of what the next attempt's placement promises."""
        self.predicted_ttft_s = placement.predicted_ttft_s
        self.placed_at = time.monotonic()
        self.is_disaggregated = placement.decision is Decision.DISAGGREGATED
        self._prefill_worker = placement.prefill

    def begin(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.num_attempts += 1
        self._early.clear()

    def end(self, cancel: bool) -> None:
        """Leaves all workers; with `cancel` they are told to stop."""
        for half in self.attempt.halves:
            half.drop(cancel)
        self.attempt = Attempt()

    def failure(self) -> LegatoError:
        """The error to show when no further attempt is made."""
        failures = self.attempt.failures
        if not failures:
            return EngineError("the request was lost")
        decisive = next((one for one in failures if one.kind == "client"), failures[-1])
        return error_of(decisive)

    def on_message(self, half: RunHalf, message: Tokens | HandedOver | Failed) -> None:
        if half is not self.attempt.decode and half is not self.attempt.prefill:
            return
        if isinstance(message, Tokens):
            self._on_tokens(half, message)
        elif isinstance(message, HandedOver):
            self.was_handed_over = True
            self._add_times(message.times)
            self._leave(half)
        else:
            self._on_failed(half, message)
        self._notify()  # of an event, or that nobody is left who could send one

    def _on_failed(self, half: RunHalf, failure: Failed) -> None:
        attempt = self.attempt
        attempt.failures.append(failure)
        was_prefill = half is attempt.prefill
        self._leave(half)
        is_stuck = not attempt.decode_streams or bool(self._early)
        if was_prefill and attempt.decode is not None and is_stuck:
            # What D waits for, or what lies before D's tokens, will never come.
            attempt.decode.drop(cancel=True)
            attempt.remove(attempt.decode)

    def _leave(self, half: RunHalf) -> None:
        half.drop(cancel=False)
        self.attempt.remove(half)

    def _on_tokens(self, half: RunHalf, message: Tokens) -> None:
        if message.times is not None:
            self._add_times(message.times)
        if half is self.attempt.decode:
            self.attempt.decode_streams = True
            self.was_handed_over |= self.is_disaggregated
        if message.finish_reason is not None:
            self._leave(half)
        if not self._early and message.position <= len(self.output_token_ids):
            self._emit(message, half.link.name)
            return
        self._early[message.position] = message, half.link.name
        while self._early:
            position = min(self._early)
            if position > len(self.output_token_ids):
                return
            self._emit(*self._early.pop(position))

    def _emit(self, message: Tokens, worker: str) -> None:
        """Passes on what is new in a message that continues (or repeats) the output."""
        num_known = len(self.output_token_ids) - message.position
        token_ids = message.token_ids[num_known:]
        if not token_ids:
            return
        self.output_token_ids += token_ids
        is_last = message.finish_reason is not None
        self._events.append(
            GenerationEvent(
                tuple(token_ids),
                tuple(message.logprobs[num_known:]),
                message.finish_reason,
                message.stop_token_id,
                self.times.num_cached_tokens if self._is_first else None,
                self._timeline() if self._is_first or is_last else None,
                tuple(message.prompt_logprobs),
                message.embedding,
                None if worker == self.worker else worker,
            )
        )
        self._is_first = False
        self._take_time(worker)
        if is_last:
            self.end(cancel=True)

    def _take_time(self, worker: str) -> None:
        now = time.monotonic()
        if worker != self.worker and self.worker == self._prefill_worker is not None:
            self.handover_gap_s = now - self._emitted_at
        self.worker, self._emitted_at = worker, now

    def _timeline(self) -> dict[str, float]:
        times = self.times
        stages = {"queue": times.queue_s, "prefill": times.prefill_s}
        if times.transfer_bytes:
            stages |= {
                "reserve": times.reserve_s,
                "transfer": times.transfer_s,
                "transfer_bytes": float(times.transfer_bytes),
            }
        return stages

    def _add_times(self, times: StageTimes) -> None:
        known = self.times
        self.times = StageTimes(
            queue_s=known.queue_s or times.queue_s,
            prefill_s=known.prefill_s or times.prefill_s,
            reserve_s=known.reserve_s + times.reserve_s,
            transfer_s=known.transfer_s + times.transfer_s,
            transfer_bytes=known.transfer_bytes + times.transfer_bytes,
            num_cached_tokens=max(known.num_cached_tokens, times.num_cached_tokens),
        )

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
