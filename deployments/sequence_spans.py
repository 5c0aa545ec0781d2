"""The spans of one sequence, made from the times that its events bear.

    chat MODEL  |--------------------------------------------------|   gen_ai.* attributes
    queue       |---|
    prefill         |--------|
    transfer         |-----------|     KV blocks, when a prefill worker hands over
    decode                   |-------------------------------------|

Workers measure durations, not moments: queue and prefill are laid one behind the other, and the
transfer where it begins at the earliest, with the prefill. The texts of prompt and answer are sent
only if that was asked for.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence

from opentelemetry import context
from opentelemetry.trace import Span, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue

from legato.cluster.generation import GenerationEvent, GenerationRequest

OPERATION_KEY = context.create_key("legato.operation")
Decode = Callable[[Sequence[int]], str]


class SequenceSpans:
    """Follows a sequence's events; all spans are made at its end."""

    def __init__(self, tracer: Tracer, model: str, request: GenerationRequest) -> None:
        self._tracer = tracer
        self._request = request
        self._begin_ns = time.time_ns()
        self._first_ns: int | None = None
        self._token_ids: list[int] = []
        self._timeline: dict[str, float] = {}
        self._num_cached_tokens = 0
        self._finish_reason: str | None = None
        operation = str(context.get_value(OPERATION_KEY) or "text_completion")
        self._span = tracer.start_span(
            f"{operation} {model}",
            attributes=_request_attributes(operation, model, request),
            start_time=self._begin_ns,
        )

    def take(self, event: GenerationEvent) -> None:
        if self._first_ns is None:
            self._first_ns = time.time_ns()
            self._num_cached_tokens = event.num_cached_tokens or 0
        self._token_ids += event.token_ids
        if event.timeline is not None:
            self._timeline |= event.timeline
        if event.finish_reason is not None:
            self._finish_reason = str(event.finish_reason)

    def end(self, now_ns: int, failure: BaseException | None, decode: Decode | None = None) -> None:
        """Closes all spans, as at `now_ns` (of time.time_ns)."""
        self._add_stages(now_ns)
        span = self._span
        span.set_attributes(self._response_attributes())
        if decode is not None:
            span.set_attribute("gen_ai.input.messages", self._input(decode))
            span.set_attribute("gen_ai.output.messages", self._output(decode))
        if failure is not None and self._finish_reason is None:
            _note_failure(span, failure)
        span.end(now_ns)

    def _add_stages(self, now_ns: int) -> None:
        prefill_ns = self._begin_ns + _ns(self._timeline.get("queue", 0.0))
        if "prefill" in self._timeline:
            self._add("queue", self._begin_ns, prefill_ns)
            self._add("prefill", prefill_ns, prefill_ns + _ns(self._timeline["prefill"]))
        if "transfer" in self._timeline:
            begin_ns = prefill_ns + _ns(self._timeline.get("reserve", 0.0))
            num_bytes = int(self._timeline.get("transfer_bytes", 0))
            end_ns = begin_ns + _ns(self._timeline["transfer"])
            self._add("transfer", begin_ns, end_ns, {"legato.transfer.bytes": num_bytes})
        if self._first_ns is not None:
            self._add("decode", self._first_ns, now_ns)

    def _add(
        self,
        name: str,
        begin_ns: int,
        end_ns: int,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> None:
        parent = set_span_in_context(self._span)
        span = self._tracer.start_span(name, parent, attributes=attributes, start_time=begin_ns)
        span.end(end_ns)

    def _response_attributes(self) -> dict[str, AttributeValue]:
        attributes: dict[str, AttributeValue] = {
            "gen_ai.usage.input_tokens": len(self._request.prompt_token_ids),
            "gen_ai.usage.output_tokens": len(self._token_ids),
            "gen_ai.usage.cache_read.input_tokens": self._num_cached_tokens,
        }
        if self._first_ns is not None:
            ttft_s = (self._first_ns - self._begin_ns) / 1e9
            attributes["gen_ai.response.time_to_first_chunk"] = ttft_s
        if self._finish_reason is not None:
            attributes["gen_ai.response.finish_reasons"] = [self._finish_reason]
        return attributes

    def _input(self, decode: Decode) -> str:
        """The prompt as the model sees it: the chat template has been applied."""
        return _message("user", decode(self._request.prompt_token_ids))

    def _output(self, decode: Decode) -> str:
        return _message("assistant", decode(self._token_ids), self._finish_reason or "error")


def _request_attributes(
    operation: str, model: str, request: GenerationRequest
) -> dict[str, AttributeValue]:
    params = request.params
    attributes: dict[str, AttributeValue | None] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "legato",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.request.max_tokens": params.max_tokens,
        "gen_ai.request.temperature": params.temperature,
        "gen_ai.request.top_p": params.top_p,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _message(role: str, text: str, finish_reason: str | None = None) -> str:
    message: dict[str, object] = {"role": role, "parts": [{"type": "text", "content": text}]}
    if finish_reason is not None:
        message["finish_reason"] = finish_reason
    return json.dumps([message], ensure_ascii=False)


def _note_failure(span: Span, failure: BaseException) -> None:
    is_cancelled = isinstance(failure, GeneratorExit | asyncio.CancelledError)
    span.set_attribute("error.type", "cancelled" if is_cancelled else type(failure).__name__)
    if not is_cancelled:
        span.set_status(Status(StatusCode.ERROR, str(failure)))


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
