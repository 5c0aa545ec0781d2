"""Responses as ASGI responses.

| | generates | when the client leaves |
|---|---|---|
| WholeResponse | yes | nothing remains |
| StreamedResponse | yes | nothing remains |
| ReplayedResponse | in the background | it goes on, and can be read from anywhere again |
"""

from collections.abc import Sequence
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from legato.deployments.openai.answer_format import encode_json
from legato.deployments.openai.attend import attend
from legato.deployments.openai.responses.draft import Draft
from legato.deployments.openai.responses.event_log import EventLog
from legato.deployments.openai.responses.events import Event, EventWriter
from legato.deployments.openai.responses.run import ResponseRun
from legato.deployments.openai.service import ApiService
from legato.deployments.openai.sse import SseWriter


def json_response(value: object) -> Response:
    return Response(encode_json(value), media_type="application/json")


class WholeResponse:
    def __init__(self, service: ApiService, draft: Draft) -> None:
        self._run = ResponseRun(service, draft)
        self._idle_s = service.limits.keep_alive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await attend(self._run.run(), receive, self._idle_s):
            await json_response(self._run.response)(scope, receive, send)


class StreamedResponse:
    """Opens with the first token, or when it has been silent for too long without one."""

    def __init__(self, service: ApiService, draft: Draft) -> None:
        self._run = ResponseRun(service, draft, self._publish)
        self._events = EventWriter()
        self._keep_alive_s = service.limits.keep_alive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._writer = SseWriter(send, self._keep_alive_s)
        await attend(self._pump(), receive, self._keep_alive_s / 2, self._keep_alive)

    async def _pump(self) -> None:
        await self._run.run()
        await self._writer.write(b"", is_last=True)

    async def _publish(self, events: Sequence[Event]) -> None:
        await self._writer.write(self._events.encode(events))

    async def _keep_alive(self) -> None:
        if self._run.is_open:
            await self._writer.keep_alive()
        elif self._writer.is_silent:
            await self._run.open()


class ReplayedResponse:
    """The events from number `start` on, and on to the end."""

    def __init__(self, log: EventLog, start: int, keep_alive_s: float) -> None:
        self._log = log
        self._start = start
        self._keep_alive_s = keep_alive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = SseWriter(send, self._keep_alive_s)
        await attend(self._pump(writer), receive, self._keep_alive_s / 2, writer.keep_alive)

    async def _pump(self, writer: SseWriter) -> None:
        async with aclosing(self._log.read(self._start)) as bodies:
            async for body in bodies:
                await writer.write(body)
        await writer.write(b"", is_last=True)
