"""Everything that a cluster is told, from one flat table of options.

    legato serve M --port 8123          arguments.py --.
    serve run ...:build model=M port=8123  ------------+--> AppConfig.from_options --> AppConfig
    YAML: args: {model: M, port: 8123}  ---------------'          (frozen, read once)

Names and types come from the dataclasses, so the three ways in know the same options. The
module reads no file and no environment variable.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from legato.deployments.openai.forwarded import TrustedProxies
from legato.deployments.openai.message.dialect import REASONING_PARSERS, TOOL_PARSERS
from legato.engine.builtin_model import BUILTIN_MODEL_NAME, builtin_model_directory
from legato.engine.config import (
    CacheOptions,
    EngineConfig,
    ModelOptions,
    ParallelOptions,
    SchedulerOptions,
    compose,
    option,
)
from legato.engine.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Cluster"""

    prefill_replicas: int | None = option(
        None,
        "workers that compute prompts; 0: decode workers compute them themselves; default: 1, or "
        "0 where there is a single GPU",
        minimum=0,
    )
    decode_replicas: int = option(1, "workers that generate", minimum=1)
    router_replicas: int = option(1, "processes that speak HTTP with clients", minimum=1)
    kv_transport: str = option(
        "auto",
        "how KV blocks pass between workers; auto: CUDA IPC or shared memory on one host, else "
        "NIXL where it is installed, else Ray's object store",
        ("auto", "nixl", "object_store"),
    )
    local_prefill_max_tokens: int | None = option(
        None,
        "decode workers compute up to this many uncached prompt tokens themselves; default: "
        "whatever is predicted to be quicker",
        minimum=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Server"""

    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0: every interface")
    port: int = option(8000, "port to listen on", minimum=1, maximum=65535)
    api_key: tuple[str, ...] = option((), "key that clients must send", secret=True)
    forwarded_allow_ips: tuple[str, ...] = option(
        (),
        "addresses or networks of proxies whose X-Forwarded-For, -Proto and -User are believed; "
        "who is named there has limits, responses and a cache of its own; default: none",
    )
    max_requests_per_minute: int | None = option(
        None,
        "requests of each key that a router lets in; more get 429 and Retry-After; default: any",
        minimum=1,
    )
    max_tokens_per_minute: int | None = option(
        None,
        "tokens of prompts and answers of each key, on each router; default: any",
        minimum=1,
    )
    served_model_name: tuple[str, ...] = option(
        (), "names of the model in the API, answers bear the first; default: the model as given"
    )
    chat_template: str | None = option(
        None, "Jinja chat template, or a file that holds one; default: the model's"
    )
    tool_call_parser: str | None = option(
        None,
        "how the model writes tool calls; default: what its chat template shows",
        TOOL_PARSERS,
    )
    enable_auto_tool_choice: bool = option(
        True, "the model may call tools of its own accord, where its calls can be read"
    )
    reasoning_parser: str | None = option(
        None,
        "how the model writes what it thinks; default: what its chat template shows",
        REASONING_PARSERS,
    )
    convert: str = option(
        "auto",
        "embed: /v1/embeddings, /score and /rerank too, from the model's hidden states; auto: if "
        "it was trained for them, as its modules.json says",
        ("auto", "none", "embed"),
    )
    pooling_type: str | None = option(
        None,
        "of embeddings: the last token's hidden state, or the mean of all; default: what the model "
        "was trained for, or last",
        ("last", "mean"),
    )
    playground: bool = option(True, "a page at / to chat with the model and to watch requests")
    max_body_bytes: int = option(16 << 20, "longest request body that is read", minimum=1)
    max_stored_responses: int = option(
        1000,
        "answers of /v1/responses that are kept for each API key, for a day at most; with several "
        "routers none are",
        minimum=0,
    )
    shutdown_timeout: float = option(
        30.0, "seconds that running requests have to finish at shutdown", minimum=0
    )
    otlp_traces_endpoint: str | None = option(
        None,
        "URL that traces are sent to by OTLP over HTTP, as http://collector:4318/v1/traces; "
        "default: none are made",
    )
    trace_texts: bool = option(False, "prompts and answers are sent with the traces")
    disable_log_stats: bool = option(False, "no line of throughput and load every 10 seconds")

    def __post_init__(self) -> None:
        TrustedProxies(self.forwarded_allow_ips)  # or an error, before anything is started
        if self.pooling_type is not None and self.convert != "embed":
            raise ConfigError("--pooling-type needs --convert embed")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppConfig:
    """A whole cluster's configuration; without any option it serves the built-in model."""

    model: ModelOptions
    cache: CacheOptions
    scheduler: SchedulerOptions
    parallel: ParallelOptions
    cluster: ClusterOptions
    server: ServerOptions

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "AppConfig":
        """Builds the configuration from flat names; values may be text.

        Raises:
            ConfigError: a name is unknown (the message names the nearest) or a value is not
                usable (the message says what is).
        """
        config = compose(cls, options)
        return config if config.model.model else config._with_builtin_model()

    @property
    def engine(self) -> EngineConfig:
        """The part that each worker's engine is told."""
        return EngineConfig(
            model=self.model,
            cache=self.cache,
            scheduler=self.scheduler,
            parallel=self.parallel,
        )

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names under which the API knows the model, at least one."""
        return self.server.served_model_name or (self.model.model,)

    @property
    def num_stored_responses(self) -> int:
        """How many one router keeps for each key: several know nothing of each other's."""
        return self.server.max_stored_responses if self.cluster.router_replicas == 1 else 0

    def _with_builtin_model(self) -> "AppConfig":
        names = self.server.served_model_name or (BUILTIN_MODEL_NAME,)
        return replace(
            self,
            model=replace(self.model, model=str(builtin_model_directory())),
            server=replace(self.server, served_model_name=names),
        )
