"""A small served model for the HTTP tests: a real tokenizer, and a scripted backend."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import httpx
import numpy as np
import openai
from starlette.applications import Starlette
from starlette.types import Message
from tokenizers import Tokenizer as TokenizerCore
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from legato.cluster.generation import GenerationEvent, GenerationRequest
from legato.deployments.metrics import ServingMetrics
from legato.deployments.openai.app import create_app
from legato.deployments.openai.grammar_service import GrammarService
from legato.deployments.openai.message.dialect import Dialect
from legato.deployments.openai.rate_limits import RateLimiter
from legato.deployments.openai.service import ApiKeys, ApiService, Limits, ServingInfo
from legato.deployments.openai.tokenizer import TokenizerService
from legato.engine.batch import FinishReason, TokenLogprobs
from legato.engine.sampling_params import Pooling
from legato.engine.tokenizer import Tokenizer

MODEL = "test/tiny"
ALIAS = "tiny"
MAX_MODEL_LEN = 256
HIDDEN_SIZE = 16
REPLY = "The quick brown fox jumps over the lazy dog. Größe: 3 €, 你好 🎉 and so on."
_EOS, _START, _END = "<|eos|>", "<|start|>", "<|end|>"
_TEMPLATE = (
    "{% for m in messages %}{% if m.content == 'please fail' %}"
    "{{ raise_exception('this conversation is refused') }}{% endif %}"
    "<|start|>{{ m.role }}\n{{ m.content or '' }}{% for c in m.tool_calls or [] %}"
    "({{ c.function.name }} {{ c.function.arguments.items() | list }}){% endfor %}<|end|>\n"
    "{% endfor %}{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}"
    "{% if mood is defined %}({{ mood }}){% endif %}"
    "{% if add_generation_prompt %}<|start|>assistant\n"
    "{% if thinks is defined %}<think>\n{% endif %}{% endif %}"
)


@cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, trained on a few lines; half of a character is one of its tokens."""
    backend = TokenizerCore(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[_EOS, _START, _END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(
        ["The quick brown fox jumps over the lazy dog and so on."] * 3, trainer
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=_EOS)
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def encode(text: str) -> tuple[int, ...]:
    return tuple(tiny_tokenizer().backend_tokenizer.encode(text).ids)


def decode(token_ids: Sequence[int]) -> str:
    text: str = tiny_tokenizer().backend_tokenizer.decode(list(token_ids))
    return text


EOS_ID: int = encode(_EOS)[0]
VOCAB_SIZE = len(tiny_tokenizer())


@dataclass
class ScriptedBackend:
    """Says `reply` and then EOS, `tokens_per_event` at a time, and keeps account of it.

    With a `gate`, each event waits for it. `failure` is raised after `tokens_before_failure`.
    """

    reply: tuple[int, ...] = encode(REPLY)
    tokens_per_event: int = 1
    refusal: Exception | None = None
    failure: Exception | None = None
    tokens_before_failure: int = 0
    gate: asyncio.Semaphore | None = None
    timeline: Mapping[str, float] | None = None
    breaks_off: bool = False  # instead of its last event
    well: bool = True
    requests: list[GenerationRequest] = field(default_factory=list)
    arrivals: asyncio.Queue[GenerationRequest] = field(default_factory=asyncio.Queue)
    num_closed_early: int = 0

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        self.requests.append(request)
        self.arrivals.put_nowait(request)
        is_complete = False
        try:
            for event in self._events(request):
                if self.gate is not None:
                    await self.gate.acquire()
                is_complete = event.finish_reason is not None
                yield event
        finally:
            self.num_closed_early += not is_complete

    def check_admission(self, num_sequences: int, num_tokens: int) -> None:
        if self.refusal is not None:
            raise self.refusal

    def is_ready(self) -> bool:
        return self.well

    def is_alive(self) -> bool:
        return self.well

    def load(self) -> Mapping[str, float]:
        return {"running": float(len(self.requests))}

    def _events(self, request: GenerationRequest) -> Any:
        params = request.params
        tokens = self.reply if params.ignore_eos else (*self.reply, EOS_ID)
        ids = tokens[: params.max_tokens]
        steps = range(0, len(ids), self.tokens_per_event)
        for start in steps:
            if self.failure is not None and start >= self.tokens_before_failure:
                raise self.failure
            part = ids[start : start + self.tokens_per_event]
            is_last = start == steps[-1]
            if is_last and self.breaks_off:
                return
            by_eos = is_last and part[-1] == EOS_ID
            reason = FinishReason.STOP if by_eos else FinishReason.LENGTH
            yield GenerationEvent(
                part,
                tuple(logprobs_of(i, params.logprobs) for i in part)
                if params.logprobs is not None
                else (),
                reason if is_last else None,
                EOS_ID if by_eos else None,
                4 if start == 0 else None,
                self.timeline if start == 0 or is_last else None,
                prompt_logprobs_of(request) if start == 0 else (),
                embedding_of(request) if start == 0 else b"",
            )


def logprobs_of(token_id: int, num_top: int) -> TokenLogprobs:
    """Made up, but different for each token; its neighbours by id are the alternatives."""
    top = tuple(((token_id + i) % VOCAB_SIZE, -0.01 * token_id - i) for i in range(num_top))
    return TokenLogprobs(token_id, -0.01 * token_id, 1, top)


def prompt_logprobs_of(request: GenerationRequest) -> tuple[TokenLogprobs, ...]:
    num_top = request.params.prompt_logprobs
    if num_top is None:
        return ()
    return tuple(logprobs_of(token_id, num_top) for token_id in request.prompt_token_ids[1:])


def embedding_of(request: GenerationRequest) -> bytes:
    """How often its tokens are of each remainder."""
    if request.params.pooling is None:
        return b""
    remainders = np.array(request.prompt_token_ids) % HIDDEN_SIZE
    return np.bincount(remainders, minlength=HIDDEN_SIZE).astype("<f4").tobytes()


def make_service(
    backend: ScriptedBackend,
    api_keys: Sequence[str] = (),
    limits: Limits | None = None,
    generation_defaults: Mapping[str, float] | None = None,
    dialect: Dialect | None = None,
    rate_limits: RateLimiter | None = None,
) -> ApiService:
    return ApiService(
        backend=backend,
        tokenizer=TokenizerService(Tokenizer(tiny_tokenizer()), MAX_MODEL_LEN),
        info=ServingInfo(
            model_names=(MODEL, ALIAS),
            max_model_len=MAX_MODEL_LEN,
            vocab_size=VOCAB_SIZE,
            created=1,
            version="0.0.1",
            generation_defaults=generation_defaults or {},
            hidden_size=HIDDEN_SIZE,
        ),
        metrics=ServingMetrics(MODEL, MAX_MODEL_LEN),
        grammars=GrammarService(Tokenizer(tiny_tokenizer()), VOCAB_SIZE),
        dialect=dialect or Dialect(),
        api_keys=ApiKeys.from_plain(api_keys),
        limits=limits or Limits(),
        rate_limits=rate_limits or RateLimiter(),
    )


def make_embedding_app(backend: ScriptedBackend | None = None, **options: Any) -> Starlette:
    """One that was started with `--convert embed`."""
    service = make_service(backend or ScriptedBackend(), **options)
    return create_app(replace(service, info=replace(service.info, pooling=Pooling.LAST)))


def make_app(backend: ScriptedBackend | None = None, **options: Any) -> Starlette:
    return create_app(make_service(backend or ScriptedBackend(), **options))


def http_client(app: Starlette, **options: Any) -> httpx.AsyncClient:
    """Any exception that escapes from the application fails the test."""
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://test", **options)


def openai_client(app: Starlette, api_key: str = "unused") -> openai.AsyncOpenAI:
    transport: Any = http_client(app)  # the client's own type differs between its versions
    return openai.AsyncOpenAI(
        base_url="http://test/v1", api_key=api_key, http_client=transport, max_retries=0
    )


class RawExchange:
    """One POST at the level of ASGI, for what no client shows: single writes, and leaving."""

    def __init__(self, app: Starlette, path: str, body: bytes) -> None:
        self._app = app
        self._path = path
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self._sent: asyncio.Queue[Message] = asyncio.Queue()

    async def run(self) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": self._path,
            "raw_path": self._path.encode(),
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
        }
        await self._app(scope, self._incoming.get, self._sent.put)

    async def message(self) -> Message:
        """The next message that the application sends."""
        return await asyncio.wait_for(self._sent.get(), 10)

    def rest(self) -> list[Message]:
        """Those that nobody has taken yet."""
        return [self._sent.get_nowait() for _ in range(self._sent.qsize())]

    def leave(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})
