"""A generation as an ASGI response: streamed as server-sent events, or whole.

    StreamedAnswer    200 is sent with the first event, so that whatever fails before it still gets
                      its own status; or with the first keep-alive, if nothing came until then.

        data: {role} -> data: {text} ... -> data: {finish} -> [data: {usage}] -> data: [DONE]
                                  `-> data: {"error": ...} ----------------------> data: [DONE]

Each event of the backend is written at once, in one write.
"""

import logging
from functools import partial

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from legato.deployments.openai.answer_format import AnswerFormat, encode_json
from legato.deployments.openai.attend import attend
from legato.deployments.openai.choice import ChoiceDelta, join_deltas
from legato.deployments.openai.errors import describe
from legato.deployments.openai.generation import Generation, GenerationPlan
from legato.deployments.openai.service import ApiService
from legato.deployments.openai.sse import SseWriter
from legato.engine.errors import LegatoError

logger = logging.getLogger(__name__)

_DONE = b"data: [DONE]\n\n"


def answer(service: ApiService, plan: GenerationPlan, answer_format: AnswerFormat) -> ASGIApp:
    """The response to a validated request; the generation starts when it is sent."""
    if plan.options.stream:
        return StreamedAnswer(service, plan, answer_format)
    return WholeAnswer(service, plan, answer_format)


class StreamedAnswer:
    def __init__(
        self, service: ApiService, plan: GenerationPlan, answer_format: AnswerFormat
    ) -> None:
        self._generation = Generation(service, plan)
        self._options = plan.options
        self._format = answer_format
        self._keep_alive_s = service.limits.keep_alive_s
        self._has_details = plan.options.token_ids or plan.requests[0].params.logprobs is not None
        self._opened: set[int] = set()  # choices whose opening chunk is out

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = SseWriter(send, self._keep_alive_s)
        await attend(self._pump(writer), receive, self._keep_alive_s / 2, writer.keep_alive)

    async def _pump(self, writer: SseWriter) -> None:
        try:
            await self._generation.run(partial(self._emit, writer))
            last = self._usage_chunk() + _DONE
        except Exception as error:
            if not writer.is_started:
                raise
            if not isinstance(error, LegatoError):
                logger.exception("unexpected error in a stream")
            _, envelope = describe(error)
            last = b"data: " + msgspec.json.encode(envelope) + b"\n\n" + _DONE
        await writer.write(last, is_last=True)

    async def _emit(self, writer: SseWriter, index: int, delta: ChoiceDelta) -> None:
        chunks: list[bytes] = []
        if index not in self._opened:
            self._opened.add(index)
            chunks.append(self._format.opening(index, delta) or b"")
        if delta.text or delta.parts or (self._has_details and delta.token_ids):
            chunks += self._format.pieces(index, delta)
        if delta.finish_reason is not None:
            chunks.append(self._format.finish(index, delta))
        tail = self._tail()
        if body := b"".join(chunk + tail for chunk in chunks if chunk):
            await writer.write(body)

    def _tail(self) -> bytes:
        """What closes a chunk: usage as null where a usage chunk follows, as the schema has it."""
        if self._options.continuous_usage:
            return b',"usage":' + encode_json(self._generation.usage()) + b"}\n\n"
        return b',"usage":null}\n\n' if self._options.include_usage else b"}\n\n"

    def _usage_chunk(self) -> bytes:
        if not self._options.include_usage:
            return b""
        usage = encode_json(self._generation.usage(self._options.timeline))
        return self._format.without_choices() + b',"usage":' + usage + b"}\n\n"


class WholeAnswer:
    def __init__(
        self, service: ApiService, plan: GenerationPlan, answer_format: AnswerFormat
    ) -> None:
        self._generation = Generation(service, plan)
        self._options = plan.options
        self._format = answer_format
        self._idle_s = service.limits.keep_alive_s
        self._deltas: list[list[ChoiceDelta]] = [[] for _ in plan.requests]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await attend(self._generation.run(self._emit), receive, self._idle_s):
            await self._response()(scope, receive, send)

    async def _emit(self, index: int, delta: ChoiceDelta) -> None:
        self._deltas[index].append(delta)

    def _response(self) -> Response:
        usage = self._generation.usage(self._options.timeline)
        body = self._format.whole([join_deltas(deltas) for deltas in self._deltas], usage)
        headers = {}
        if usage.timeline is not None:
            headers["x-legato-timeline"] = encode_json(usage.timeline).decode()
        return Response(body, headers=headers, media_type="application/json")
