"""The router's work, in its replica's own process: cluster client, OpenAI application, listener.

Serve's HAProxy --> replica's own port --> app          serve run, serve deploy, KubeRay
--host:--port   --> Listener ------------> app          legato serve: one hop less

It knows nothing of Serve, which holds it through router.py.
"""

import time
from collections.abc import AsyncGenerator, Mapping
from importlib.metadata import version

from starlette.types import ASGIApp

from legato.cluster.client import ClusterClient
from legato.cluster.collector import calm_collector
from legato.cluster.generation import GenerationEvent, GenerationRequest
from legato.cluster.placement import Placement
from legato.cluster.wire import Report, StageTimes
from legato.deployments.chat_template import read_chat_template
from legato.deployments.config import AppConfig
from legato.deployments.listener import Listener, bind
from legato.deployments.metrics import ServingMetrics
from legato.deployments.openai.app import create_app
from legato.deployments.openai.grammar_service import GrammarService
from legato.deployments.openai.message.dialect import find_dialect
from legato.deployments.openai.service import ApiKeys, ApiService, Limits, ServingInfo
from legato.deployments.openai.tokenizer import TokenizerService
from legato.deployments.router import RouterOptions
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.source import resolve_model_directory
from legato.engine.tokenizer import Tokenizer


class MetricsObserver:
    """Passes what the cluster client sees on to the metrics."""

    def __init__(self, metrics: ServingMetrics) -> None:
        self._metrics = metrics

    def on_placement(self, placement: Placement) -> None:
        self._metrics.observe_placement(placement.decision)

    def on_first_token(self, predicted_ttft_s: float, actual_ttft_s: float) -> None:
        self._metrics.observe_placement_error(predicted_ttft_s, actual_ttft_s)

    def on_handover(self, outcome: str, times: StageTimes) -> None:
        self._metrics.observe_handover(outcome, times.transfer_bytes)

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

    def __init__(self, app: ASGIApp, client: ClusterClient, listener: Listener | None) -> None:
        self.app = app
        self._client = client
        self._listener = listener

    def is_healthy(self) -> bool:
        """Whether the listener, if there is to be one, still listens."""
        return self._listener is None or self._listener.is_running

    async def stop(self) -> None:
        """Lets running answers finish, then closes the streams to the workers."""
        if self._listener is not None:
            await self._listener.stop()
        await self._client.stop()


async def start(options: RouterOptions) -> RouterService:
    """Loads the tokenizer and starts to serve.

    Raises:
        ConfigError: the model's files cannot be read, or the address is taken.
    """
    config = options.config
    directory = resolve_model_directory(config.model.model)
    model = ModelConfig.load(directory)
    max_model_len = config.model.max_model_len or model.max_context_len
    metrics = ServingMetrics(config.model_names[0], max_model_len)
    client = ClusterClient(options.client, MetricsObserver(metrics))
    tokenizer = Tokenizer.load(config.model.tokenizer or str(directory))
    template = read_chat_template(config.server.chat_template)
    if template is not None:
        tokenizer.hf.chat_template = template
    app = create_app(
        ApiService(
            backend=ClusterBackend(client),
            tokenizer=TokenizerService(tokenizer, max_model_len),
            info=ServingInfo(
                model_names=config.model_names,
                max_model_len=max_model_len,
                vocab_size=model.vocab_size,
                created=int(time.time()),
                version=version("legato-llm"),
                generation_defaults=model.sampling_defaults,
            ),
            metrics=metrics,
            grammars=GrammarService(tokenizer, model.vocab_size),
            dialect=find_dialect(
                tokenizer.hf.chat_template,
                config.server.tool_call_parser,
                config.server.reasoning_parser,
                config.server.enable_auto_tool_choice,
            ),
            api_keys=ApiKeys.from_plain(config.server.api_key),
            limits=Limits(max_body_bytes=config.server.max_body_bytes),
        )
    )
    listener = _listen(app, config) if options.listens else None
    await client.start()
    calm_collector()
    return RouterService(app, client, listener)


def _listen(app: ASGIApp, config: AppConfig) -> Listener:
    server = config.server
    sock = bind(server.host, server.port, shares_port=config.cluster.router_replicas > 1)
    listener = Listener(app, sock)
    listener.start()
    return listener
