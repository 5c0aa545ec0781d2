"""The router's end of the stream to one worker: what the worker last reported, who uses it.

The link hands every message of a request to the `Half` registered for it; when the stream ends,
each of them is told that its worker is lost. It decides nothing.
"""

from collections.abc import Callable
from typing import Protocol

from legato.cluster.channel import Connection
from legato.cluster.engine_actor import WorkerDescription
from legato.cluster.wire import (
    Cancel,
    Failed,
    FromWorker,
    HandedOver,
    Ping,
    Pong,
    Report,
    Submit,
    Tokens,
)

LOST = "the worker was lost"
# Reports come ten times a second: after so long it has stopped, or its network has.
QUIET_S = 2.5


class Half(Protocol):
    """The router's side of a request on one worker."""

    def on_message(self, message: Tokens | HandedOver | Failed) -> None:
        """Called in order; `Failed` is the last."""


class WorkerLink:
    """One worker, as this router knows it."""

    def __init__(
        self, description: WorkerDescription, secret: str, on_report: Callable[[Report], None]
    ) -> None:
        self.description = description
        self._on_report = on_report
        self.report: Report | None = None
        self.num_unreported_tokens = 0  # prompt tokens sent since the last report
        self._connection: Connection[FromWorker] = Connection(
            description.address, "Generate", secret, FromWorker, Ping()
        )
        self._halves: dict[int, Half] = {}
        self._last_request = 0

    @property
    def name(self) -> str:
        return self.description.worker

    @property
    def is_usable(self) -> bool:
        return self._connection.stream.is_open and self.report is not None

    @property
    def is_quiet(self) -> bool:
        """Nothing has come from it lately: not lost yet, but no place for new sequences."""
        return self._connection.stream.quiet_s > QUIET_S

    @property
    def is_leaving(self) -> bool:
        return self.report is not None and self.report.is_leaving

    def next_request(self) -> int:
        """A fresh id, meaningful on this stream alone."""
        self._last_request += 1
        return self._last_request

    def submit(self, submit: Submit, half: Half) -> None:
        self._halves[submit.request] = half
        self.num_unreported_tokens += len(submit.prompt_token_ids) * (submit.prefill_at is None)
        self._connection.stream.send(submit)

    def drop(self, request: int, cancel: bool) -> None:
        """No message of this request is wanted any more; with `cancel` the worker is told."""
        if self._halves.pop(request, None) is not None and cancel:
            self._connection.stream.send(Cancel(request))

    async def run(self) -> None:
        """Until the stream ends; then every request that is still here fails as lost."""
        try:
            await self._connection.run(self._on_message)
        finally:
            halves, self._halves = self._halves, {}
            for request, half in halves.items():
                half.on_message(Failed(request, "lost", LOST))

    def close(self) -> None:
        self._connection.stream.close()

    def _on_message(self, message: FromWorker) -> None:
        if isinstance(message, Report):
            self.report = message
            self.num_unreported_tokens = 0
            self._on_report(message)
        elif not isinstance(message, Pong):
            half = self._halves.get(message.request)
            if half is not None:
                half.on_message(message)
