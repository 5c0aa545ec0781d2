"""The bodies of the endpoints that make vectors of texts, and what they answer with."""

from typing import Literal

import msgspec

from legato.deployments.openai.schema import Prompt

Texts = str | list[str]


class EmbeddingFields(msgspec.Struct, frozen=True, kw_only=True):
    """What these endpoints share; all but `model` is vLLM's."""

    model: str | None = None
    add_special_tokens: bool = True
    truncate_prompt_tokens: int | None = None
    truncation_side: Literal["left", "right"] | None = None
    priority: int = 0
    cache_salt: str | None = None


class EmbeddingRequest(EmbeddingFields, frozen=True, kw_only=True):
    input: Prompt
    encoding_format: Literal["float", "base64"] = "float"  # base64: of little-endian float32
    dimensions: int | None = None  # the first ones alone, for models that were trained for it
    normalize: bool = True  # to length 1; vLLM's


class ScoreRequest(EmbeddingFields, frozen=True, kw_only=True):
    """One text against each of the others, or pairs."""

    text_1: Texts
    text_2: Texts


class RerankRequest(EmbeddingFields, frozen=True, kw_only=True):
    query: str
    documents: list[str]
    top_n: int = 0  # 0: all


class EmbeddingUsage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    total_tokens: int


class EmbeddingItem(msgspec.Struct, frozen=True):
    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingResponse(msgspec.Struct, frozen=True):
    model: str
    data: list[EmbeddingItem]
    usage: EmbeddingUsage
    object: str = "list"


class ScoreItem(msgspec.Struct, frozen=True):
    index: int
    score: float
    object: str = "score"


class ScoreResponse(msgspec.Struct, frozen=True):
    id: str
    created: int
    model: str
    data: list[ScoreItem]
    usage: EmbeddingUsage
    object: str = "list"


class RankedDocument(msgspec.Struct, frozen=True):
    text: str


class RerankItem(msgspec.Struct, frozen=True):
    index: int  # among the documents of the request
    document: RankedDocument
    relevance_score: float


class RerankResponse(msgspec.Struct, frozen=True):
    id: str
    model: str
    results: list[RerankItem]  # most relevant first
    usage: EmbeddingUsage
