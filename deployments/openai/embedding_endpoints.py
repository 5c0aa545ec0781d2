"""POST /v1/embeddings, and what vLLM makes of embeddings: /score and /rerank.

They are there where the server was started with `--convert embed`.
"""

import secrets
import time
from functools import partial

from starlette.requests import Request
from starlette.types import ASGIApp

from legato.deployments.openai.body import read_request
from legato.deployments.openai.embedding_answer import (
    EmbeddedAnswer,
    Vector,
    as_base64,
    normalized,
    similarity,
)
from legato.deployments.openai.embedding_plan import EmbeddingIntent, plan_embeddings
from legato.deployments.openai.embedding_schema import (
    EmbeddingItem,
    EmbeddingRequest,
    EmbeddingResponse,
    EmbeddingUsage,
    RankedDocument,
    RerankItem,
    RerankRequest,
    RerankResponse,
    ScoreItem,
    ScoreRequest,
    ScoreResponse,
    Texts,
)
from legato.deployments.openai.prompts import split_prompts
from legato.deployments.openai.service import ApiService
from legato.engine.errors import InvalidRequestError


async def create_embeddings(service: ApiService, http: Request) -> ASGIApp:
    body = await read_request(http, EmbeddingRequest, service.limits.max_body_bytes)
    size = service.info.hidden_size
    if body.dimensions is not None and not 1 <= body.dimensions <= size:
        raise InvalidRequestError(f"must be 1 to {size}", "dimensions")
    inputs = split_prompts(body.input, "input")
    plans = await plan_embeddings(service, EmbeddingIntent(http, body, "input"), inputs)
    return EmbeddedAnswer(service, plans, partial(_embeddings, body, plans[0].model))


async def create_scores(service: ApiService, http: Request) -> ASGIApp:
    body = await read_request(http, ScoreRequest, service.limits.max_body_bytes)
    ones, others = _as_list(body.text_1, "text_1"), _as_list(body.text_2, "text_2")
    if len(ones) not in (1, len(others)):
        raise InvalidRequestError(
            f"{len(ones)} texts cannot be paired with {len(others)}", "text_1"
        )
    intent = EmbeddingIntent(http, body, "text_2")
    plans = await plan_embeddings(service, intent, [*ones, *others])
    return EmbeddedAnswer(service, plans, partial(_scores, len(ones), plans[0].model))


async def rerank(service: ApiService, http: Request) -> ASGIApp:
    body = await read_request(http, RerankRequest, service.limits.max_body_bytes)
    if body.top_n < 0:
        raise InvalidRequestError("must not be negative", "top_n")
    documents = _as_list(body.documents, "documents")
    intent = EmbeddingIntent(http, body, "documents")
    plans = await plan_embeddings(service, intent, [body.query, *documents])
    return EmbeddedAnswer(service, plans, partial(_ranking, body, plans[0].model))


def _as_list(texts: Texts, param: str) -> list[str]:
    if not texts:
        raise InvalidRequestError("must not be empty", param)
    return [texts] if isinstance(texts, str) else texts


def _embeddings(
    body: EmbeddingRequest, model: str, vectors: list[Vector], usage: EmbeddingUsage
) -> EmbeddingResponse:
    finished = [vector[: body.dimensions] for vector in vectors]
    if body.normalize:
        finished = list(map(normalized, finished))
    is_text = body.encoding_format == "base64"
    return EmbeddingResponse(
        model,
        [
            EmbeddingItem(index, as_base64(vector) if is_text else vector.tolist())
            for index, vector in enumerate(finished)
        ],
        usage,
    )


def _scores(
    num_ones: int, model: str, vectors: list[Vector], usage: EmbeddingUsage
) -> ScoreResponse:
    others = vectors[num_ones:]
    ones = vectors[:num_ones] * (len(others) if num_ones == 1 else 1)
    pairs = enumerate(zip(ones, others, strict=True))
    items = [ScoreItem(index, similarity(*pair)) for index, pair in pairs]
    return ScoreResponse(_new_id("score"), int(time.time()), model, items, usage)


def _ranking(
    body: RerankRequest, model: str, vectors: list[Vector], usage: EmbeddingUsage
) -> RerankResponse:
    query, *documents = vectors
    items = [
        RerankItem(index, RankedDocument(text), similarity(query, vector))
        for index, (text, vector) in enumerate(zip(body.documents, documents, strict=True))
    ]
    items.sort(key=lambda item: item.relevance_score, reverse=True)
    return RerankResponse(_new_id("rerank"), model, items[: body.top_n or None], usage)


def _new_id(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(16)}"
