"""All that the HTTP surface is built from, as one frozen value."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from legato.deployments.metrics import ServingMetrics
from legato.deployments.openai.backend import Backend
from legato.deployments.openai.grammar_service import GrammarService
from legato.deployments.openai.message.dialect import Dialect
from legato.deployments.openai.playground import Playground
from legato.deployments.openai.rate_limits import RateLimiter
from legato.deployments.openai.recent import RecentSequences
from legato.deployments.openai.responses.live import LiveResponses
from legato.deployments.openai.responses.store import ResponseStore
from legato.deployments.openai.tokenizer import TokenizerService
from legato.engine.errors import InvalidRequestError, ModelNotFoundError
from legato.engine.sampling_params import Pooling


@dataclass(frozen=True, slots=True)
class ServingInfo:
    """What clients may know of the model that is served."""

    model_names: tuple[str, ...]  # the first is the name, the others are aliases
    max_model_len: int  # tokens of prompt and answer together
    vocab_size: int
    created: int  # unix time, seconds
    version: str
    # By SamplingParams' names: what holds where a request says nothing.
    generation_defaults: Mapping[str, float] = field(default_factory=dict)
    pooling: Pooling | None = None  # how prompts become vectors; None: they do not
    hidden_size: int = 0  # of such a vector
    generates: bool = True  # or it makes vectors alone

    def resolve_model(self, name: str | None) -> str:
        """The name to answer with; a request that names no model gets the one that is served.

        Raises:
            ModelNotFoundError: the name is not served here.
        """
        if name is None:
            return self.model_names[0]
        if name not in self.model_names:
            served = ", ".join(self.model_names)
            raise ModelNotFoundError(
                f"model {name[:200]!r} is not served here, but {served}", "model"
            )
        return name

    def resolve_generator(self, name: str | None) -> str:
        """The same for a request that generates.

        Raises:
            ModelNotFoundError: the name is not served here.
            InvalidRequestError: the model does not generate.
        """
        resolved = self.resolve_model(name)
        if not self.generates:
            raise InvalidRequestError(
                f"{resolved} makes embeddings and no text: ask /v1/embeddings, /score or /rerank",
                "model",
            )
        return resolved


@dataclass(frozen=True, slots=True)
class Limits:
    max_body_bytes: int = 8 << 20
    max_sequences: int = 256  # n times the number of prompts, of one request
    keep_alive_s: float = 10.0  # of silence on a stream before a comment is sent


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The accepted keys, as sha256 digests; none at all means that everybody is let in."""

    digests: tuple[bytes, ...] = ()

    @classmethod
    def from_plain(cls, keys: Iterable[str]) -> "ApiKeys":
        return cls(tuple(hashlib.sha256(key.encode()).digest() for key in keys if key))

    def match(self, key: bytes) -> bytes | None:
        """The digest of `key` if it is accepted. Takes equally long whichever key matches."""
        given = hashlib.sha256(key).digest()
        matches = [hmac.compare_digest(given, accepted) for accepted in self.digests]
        return given if any(matches) else None


@dataclass(frozen=True, slots=True)
class ApiService:
    backend: Backend
    tokenizer: TokenizerService
    info: ServingInfo
    metrics: ServingMetrics
    grammars: GrammarService
    dialect: Dialect = field(default_factory=Dialect)
    api_keys: ApiKeys = field(default_factory=ApiKeys)
    limits: Limits = field(default_factory=Limits)
    rate_limits: RateLimiter = field(default_factory=RateLimiter)
    responses: ResponseStore = field(default_factory=ResponseStore)
    live_responses: LiveResponses = field(default_factory=LiveResponses)
    recent: RecentSequences = field(default_factory=RecentSequences)
    playground: Playground | None = None  # None: there is no page, and nothing to watch
