"""Traces of requests: where they come from and go to. What they hold is sequence_spans.py's.

    client --traceparent--> TracingLayer --context--> TracedBackend      in the router
              <--traceresponse--  |                        |
                                  '------> spans <---------'--OTLP over HTTP--> collector

The spans' names and attributes are OpenTelemetry's conventions for HTTP servers and generative AI.
Headers for the collector, sampling and more attributes of the service come from OpenTelemetry's own
environment variables (OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES).
"""

from importlib.metadata import version

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from legato.deployments.openai.backend import Backend
from legato.deployments.openai.forwarded import forwarded_user
from legato.deployments.sequence_spans import OPERATION_KEY, Decode
from legato.deployments.traced_backend import TracedBackend
from legato.engine.errors import ConfigError

# The paths that are traced, and what a generative AI does there.
OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/responses": "chat",
}

# Also the longest that an absent collector holds up the end of a router.
SEND_TIMEOUT_S = 5.0


class Tracing:
    """Sends what is traced to one collector, until it is stopped."""

    def __init__(self, endpoint: str, has_texts: bool) -> None:
        """With `has_texts`, prompts and answers go there too.

        Raises:
            ConfigError: the endpoint is no URL.
        """
        if not endpoint.startswith(("http://", "https://")):
            raise ConfigError(f"--otlp-traces-endpoint must be a URL, not {endpoint!r}")
        resource = Resource({"service.name": "legato", "service.version": version("legato-llm")})
        self._provider = TracerProvider(
            resource=resource.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=SEND_TIMEOUT_S))
        )
        self._tracer = self._provider.get_tracer("legato", version("legato-llm"))
        self._has_texts = has_texts

    def layer(self, app: ASGIApp) -> ASGIApp:
        """`app`, with a span for each request that generates."""
        return TracingLayer(app, self._tracer)

    def backend(self, backend: Backend, model: str, decode: Decode) -> Backend:
        """`backend`, with spans for each sequence."""
        return TracedBackend(backend, self._tracer, model, decode if self._has_texts else None)

    def stop(self) -> None:
        """Sends what has not been sent; blocks until then, or until the collector took too long."""
        self._provider.shutdown()


class TracingLayer:
    """A span for each request that generates, around the whole application."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = OPERATIONS.get(scope["path"]) if scope["type"] == "http" else None
        if operation is None:
            await self._app(scope, receive, send)
            return
        span = self._start(scope)
        around = context.set_value(OPERATION_KEY, operation, trace.set_span_in_context(span))
        token = context.attach(around)
        try:
            await self._app(scope, receive, _noting(span, send))
        finally:
            context.detach(token)
            span.end()

    def _start(self, scope: Scope) -> Span:
        carrier = dict(Headers(scope=scope))
        client = {"user.id": forwarded_user(scope), "client.address": _client_address(scope)}
        return self._tracer.start_span(
            f"{scope['method']} {scope['path']}",
            self._propagator.extract(carrier),
            SpanKind.SERVER,
            {
                "http.request.method": scope["method"],
                "http.route": scope["path"],
                "url.path": scope["path"],
                "url.scheme": scope["scheme"],
                "network.protocol.version": scope["http_version"],
                **{name: value for name, value in client.items() if value},
            },
        )


def _noting(span: Span, send: Send) -> Send:
    """`send`, which also tells the span the status, and the client the trace."""

    async def send_and_note(message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            span.set_attribute("http.response.status_code", status)
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR))
            MutableHeaders(scope=message)["traceresponse"] = _trace_response(span)
        await send(message)

    return send_and_note


def _client_address(scope: Scope) -> str:
    """Empty where it is not known."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _trace_response(span: Span) -> str:
    """As in W3C Trace Context, Level 2."""
    told = span.get_span_context()
    return f"00-{told.trace_id:032x}-{told.span_id:016x}-{int(told.trace_flags):02x}"
