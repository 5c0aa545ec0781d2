"""The router's work, in its replica's own process: cluster client, OpenAI application, listener.

Serve's HAProxy --> replica's own port --> app          serve run, serve deploy, KubeRay
--host:--port   --> Listener ------------> app          legato serve: one hop less

Behind both stands a gate (drain_gate.py) that is closed when the router is to end. It knows nothing
of Serve, which holds it through router.py.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from importlib.metadata import version
from pathlib import Path

from starlette.types import ASGIApp

from legato.cluster.client import ClientOptions, ClusterClient
from legato.cluster.generation import GenerationEvent, GenerationRequest
from legato.cluster.interpreter import calm_collector
from legato.cluster.placement import Placement
from legato.cluster.shared_secret import shared_secret
from legato.cluster.wire import Report, StageTimes
from legato.deployments.chat_template import read_chat_template
from legato.deployments.config import AppConfig, ServerOptions
from legato.deployments.drain_gate import DrainGate
from legato.deployments.listener import Listener, bind
from legato.deployments.live_settings import RouterSettings
from legato.deployments.metrics import ServingMetrics
from legato.deployments.openai.app import create_app
from legato.deployments.openai.backend import Backend
from legato.deployments.openai.forwarded import ForwardedLayer, TrustedProxies
from legato.deployments.openai.grammar_service import GrammarService
from legato.deployments.openai.message.dialect import find_dialect
from legato.deployments.openai.playground import Playground
from legato.deployments.openai.rate_limits import RateLimiter, RateLimits
from legato.deployments.openai.responses.store import ResponseStore, StoreLimits
from legato.deployments.openai.service import ApiKeys, ApiService, Limits, ServingInfo
from legato.deployments.openai.tokenizer import TokenizerService
from legato.deployments.router import RouterOptions
from legato.deployments.tracing import Tracing
from legato.engine.models.description import describe_model
from legato.engine.models.sentence_embedding import read_pooling
from legato.engine.models.served_config import ServedConfig
from legato.engine.models.source import resolve_model_directory
from legato.engine.sampling_params import Pooling
from legato.engine.tokenizer import Tokenizer

# If workers are there already, a new router knows them after a tenth of it.
WORKER_WAIT_S = 5.0


class MetricsObserver:
    """Passes what the cluster client sees on to the metrics."""

    def __init__(self, metrics: ServingMetrics) -> None:
        self._metrics = metrics

    def on_placement(self, placement: Placement) -> None:
        self._metrics.observe_placement(placement.decision)

    def on_first_token(self, predicted_ttft_s: float, actual_ttft_s: float) -> None:
        self._metrics.observe_placement_error(predicted_ttft_s, actual_ttft_s)

    def on_handover(self, outcome: str, times: StageTimes, gap_s: float | None) -> None:
        self._metrics.observe_handover(outcome, times.transfer_bytes, gap_s)

    def on_failover(self) -> None:
        self._metrics.observe_failover()

    def on_report(self, report: Report) -> None:
        self._metrics.take_report(report)

    def on_worker_lost(self, worker: str) -> None:
        self._metrics.forget_worker(worker)


class ClusterBackend:
    """The HTTP surface's view of the cluster."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client

    def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        return self._client.generate(request)

    def check_admission(self, num_sequences: int, num_tokens: int) -> None:
        self._client.check_admission(num_sequences, num_tokens)

    def is_ready(self) -> bool:
        return self._client.is_ready()

    def is_alive(self) -> bool:
        return True  # whoever can answer at all is alive; workers have checks of their own

    def load(self) -> Mapping[str, float]:
        return self._client.load()


class RouterService:
    """Built by `start`; serves until it is stopped."""

    def __init__(
        self,
        gate: DrainGate,
        client: ClusterClient,
        listener: Listener | None,
        tracing: Tracing | None,
        shutdown_timeout_s: float,
    ) -> None:
        self._gate = gate
        self._client = client
        self._listener = listener
        self._tracing = tracing
        self._shutdown_timeout_s = shutdown_timeout_s

    @property
    def app(self) -> ASGIApp:
        return self._gate

    def configure(self, settings: RouterSettings) -> None:
        """From the next request on."""
        self._client.configure(settings.max_num_queued_reqs, settings.local_prefill_max_tokens)

    def is_healthy(self) -> bool:
        """Whether the listener, if there is to be one, still listens."""
        return self._listener is None or self._listener.is_running

    async def stop(self) -> None:
        """Lets running answers finish while new requests are refused, then leaves the workers."""
        self._gate.close()
        if await self._gate.wait_until_empty(self._shutdown_timeout_s):
            await self._close_listener()
        await self._client.stop()  # answers that still run now end, with an error in the stream
        await self._close_listener()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.stop)

    async def _close_listener(self) -> None:
        if self._listener is not None:
            await self._listener.stop()


async def start(options: RouterOptions, cluster: str) -> RouterService:
    """Loads the tokenizer and starts to serve.

    Raises:
        ConfigError: the model's files cannot be read, or the address is taken.
    """
    config = options.config
    directory = resolve_model_directory(config.model.model)
    model = describe_model(directory, config.model.trust_remote_code)
    info = _serving_info(config, model, read_pooling(directory))
    metrics = ServingMetrics(info.model_names[0], info.max_model_len)
    secret = await asyncio.to_thread(shared_secret, cluster)
    client = ClusterClient(_client_options(config, cluster, secret), MetricsObserver(metrics))
    tokenizer = _load_tokenizer(config, directory)
    tracing = _start_tracing(config)
    backend: Backend = ClusterBackend(client)
    if tracing is not None:
        backend = tracing.backend(backend, info.model_names[0], tokenizer.decode)
    api = _api_service(config, info, tokenizer, metrics, backend)
    api.grammars.load()
    gate = DrainGate(_layered(create_app(api), config, tracing))
    service = RouterService(
        gate,
        client,
        _listen(gate, config) if options.listens else None,
        tracing,
        config.server.shutdown_timeout,
    )
    await client.start()
    # Serve sends requests as soon as this returns, and takes an older router away.
    await client.wait_for_worker(WORKER_WAIT_S)
    calm_collector()
    return service


def _layered(app: ASGIApp, config: AppConfig, tracing: Tracing | None) -> ASGIApp:
    """`app` in what was asked for; proxies are outermost, so that traces know the client too."""
    traced = app if tracing is None else tracing.layer(app)
    proxies = config.server.forwarded_allow_ips
    return ForwardedLayer(traced, TrustedProxies(proxies)) if proxies else traced


def _client_options(config: AppConfig, cluster: str, secret: str) -> ClientOptions:
    return ClientOptions(
        application=cluster,
        secret=secret,
        max_queued_requests=config.scheduler.max_num_queued_reqs,
        local_prefill_max_tokens=config.cluster.local_prefill_max_tokens,
    )


def _start_tracing(config: AppConfig) -> Tracing | None:
    """None: nobody wants traces, and nothing is spent on them."""
    endpoint = config.server.otlp_traces_endpoint
    return Tracing(endpoint, config.server.trace_texts) if endpoint else None


def _serving_info(config: AppConfig, model: ServedConfig, trained: Pooling | None) -> ServingInfo:
    """With `trained`, the model was made for embeddings of this kind."""
    return ServingInfo(
        model_names=config.model_names,
        max_model_len=config.model.max_model_len or model.max_context_len,
        vocab_size=model.vocab_size,
        created=int(time.time()),
        version=version("legato-llm"),
        generation_defaults=model.sampling_defaults,
        pooling=_pooling(config.server, model, trained),
        hidden_size=model.hidden_size,
        generates=model.has_head and (trained is None or config.server.convert == "none"),
    )


def _pooling(server: ServerOptions, model: ServedConfig, trained: Pooling | None) -> Pooling | None:
    """How embeddings are made; None: not at all."""
    makes_any = trained is not None or not model.has_head
    if server.convert == "none" or (server.convert == "auto" and not makes_any):
        return None
    return Pooling(server.pooling_type) if server.pooling_type else trained or Pooling.LAST


def _load_tokenizer(config: AppConfig, directory: Path) -> Tokenizer:
    tokenizer = Tokenizer.load(config.model.tokenizer or str(directory))
    template = read_chat_template(config.server.chat_template)
    if template is not None:
        tokenizer.hf.chat_template = template
    return tokenizer


def _api_service(
    config: AppConfig,
    info: ServingInfo,
    tokenizer: Tokenizer,
    metrics: ServingMetrics,
    backend: Backend,
) -> ApiService:
    return ApiService(
        backend=backend,
        tokenizer=TokenizerService(tokenizer, info.max_model_len),
        info=info,
        metrics=metrics,
        grammars=GrammarService(tokenizer, info.vocab_size),
        dialect=find_dialect(
            tokenizer.hf.chat_template,
            config.server.tool_call_parser,
            config.server.reasoning_parser,
            config.server.enable_auto_tool_choice,
        ),
        api_keys=ApiKeys.from_plain(config.server.api_key),
        limits=Limits(max_body_bytes=config.server.max_body_bytes),
        rate_limits=RateLimiter(
            RateLimits(config.server.max_requests_per_minute, config.server.max_tokens_per_minute)
        ),
        responses=ResponseStore(StoreLimits(config.num_stored_responses)),
        playground=Playground.load() if config.server.playground else None,
    )


def _listen(app: ASGIApp, config: AppConfig) -> Listener:
    server = config.server
    sock = bind(server.host, server.port, shares_port=config.cluster.router_replicas > 1)
    listener = Listener(app, sock)
    listener.start()
    return listener
