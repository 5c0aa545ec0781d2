import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import openai
import pytest
from openai.types import CreateEmbeddingResponse

from legato.deployments.openai.app import create_app
from legato.deployments.openai.rate_limits import RateLimiter, RateLimits
from legato.deployments.openai.service import Limits
from legato.engine.sampling_params import Pooling
from legato.tests.deployments.openai.harness import (
    HIDDEN_SIZE,
    MAX_MODEL_LEN,
    MODEL,
    ScriptedBackend,
    encode,
    http_client,
    make_app,
    make_embedding_app,
    make_service,
    openai_client,
)
from legato.tests.deployments.openai.strict import validated

TEXTS = ["The quick brown fox", "jumps over", "the lazy dog"]


def vector_of(text: str, dimensions: int = HIDDEN_SIZE) -> list[float]:
    """What the scripted backend's vector becomes."""
    counts = np.bincount(np.array(encode(text)) % HIDDEN_SIZE, minlength=HIDDEN_SIZE)[:dimensions]
    normalized: list[float] = (counts / np.linalg.norm(counts)).tolist()
    return normalized


async def post(path: str, body: dict[str, Any], **options: Any) -> tuple[int, dict[str, Any]]:
    async with http_client(make_embedding_app(**options)) as client:
        answer = await client.post(path, json=body)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("given", [TEXTS, [list(encode(text)) for text in TEXTS]])
async def test_each_input_has_its_vector_in_order(given: Any) -> None:
    backend = ScriptedBackend()
    status, answer = await post("/v1/embeddings", {"input": given}, backend=backend)
    assert status == 200
    validated(CreateEmbeddingResponse, json.dumps(answer))
    for index, (item, text) in enumerate(zip(answer["data"], TEXTS, strict=True)):
        assert item["index"] == index
        assert item["embedding"] == pytest.approx(vector_of(text), abs=1e-6)
    num_tokens = sum(len(encode(text)) for text in TEXTS)
    assert answer["usage"] == {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    for request in backend.requests:
        assert (request.params.pooling, request.params.max_tokens) == (Pooling.LAST, 1)


@pytest.mark.parametrize("given", ["fox", list(encode("fox"))])
async def test_the_openai_client_reads_them_as_base64_and_as_floats(given: Any) -> None:
    async with openai_client(make_embedding_app()) as client:
        by_default = await client.embeddings.create(model=MODEL, input=given)
        floats = await client.embeddings.create(model=MODEL, input=given, encoding_format="float")
    assert by_default.data[0].embedding == pytest.approx(vector_of("fox"), abs=1e-6)
    assert floats.data[0].embedding == pytest.approx(vector_of("fox"), abs=1e-6)


async def test_fewer_dimensions_have_length_one_too() -> None:
    for dimensions in (8, HIDDEN_SIZE):
        body = {"input": TEXTS[0], "dimensions": dimensions}
        _, answer = await post("/v1/embeddings", body)
        expected = vector_of(TEXTS[0], dimensions)
        assert answer["data"][0]["embedding"] == pytest.approx(expected, abs=1e-6)
    _, raw = await post("/v1/embeddings", {"input": TEXTS[0], "normalize": False})
    assert sum(raw["data"][0]["embedding"]) == len(encode(TEXTS[0]))


async def test_many_inputs_run_in_waves() -> None:
    backend, texts = ScriptedBackend(), [f"text {i}" for i in range(7)]
    limits = Limits(max_sequences=3)
    _, answer = await post("/v1/embeddings", {"input": texts}, backend=backend, limits=limits)
    assert [item["index"] for item in answer["data"]] == list(range(7))
    for item, text in zip(answer["data"], texts, strict=True):
        assert item["embedding"] == pytest.approx(vector_of(text), abs=1e-6)
    assert len(backend.requests) == 7


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", [1]]}, "input"),
        ({"input": [10**6]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": HIDDEN_SIZE + 1}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "cache_salt": ""}, "cache_salt"),
        ({"input": "a", "priority": 1 << 40}, "priority"),
        ({"input": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
    ],
)
async def test_a_field_at_fault_is_named(body: dict[str, Any], param: str) -> None:
    backend = ScriptedBackend()
    status, answer = await post("/v1/embeddings", body, backend=backend)
    assert (status, answer["error"]["param"]) == (400, param)
    assert backend.requests == []


async def test_what_is_too_long_is_refused_or_cut() -> None:
    long = {"input": [5] * MAX_MODEL_LEN}
    status, answer = await post("/v1/embeddings", long)
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    status, answer = await post("/v1/embeddings", long | {"truncate_prompt_tokens": 8})
    assert (status, answer["usage"]["prompt_tokens"]) == (200, 8)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/score", {"text_1": "a", "text_2": "b"}),
        ("/rerank", {"query": "a", "documents": ["b"]}),
    ],
)
async def test_without_the_flag_it_is_named(path: str, body: dict[str, Any]) -> None:
    async with http_client(make_app()) as client:
        answer = await client.post(path, json=body)
    assert answer.status_code == 400
    assert "--convert embed" in answer.json()["error"]["message"]


async def test_failures_and_limits_are_those_of_any_request() -> None:
    broken = ScriptedBackend(failure=RuntimeError("boom"))
    async with openai_client(make_embedding_app(broken)) as client:
        with pytest.raises(openai.InternalServerError):
            await client.embeddings.create(model=MODEL, input="a")
        with pytest.raises(openai.NotFoundError):
            await client.embeddings.create(model="no/such", input="a")
    limiter = RateLimiter(RateLimits(requests_per_minute=1))
    app = make_embedding_app(rate_limits=limiter)
    async with openai_client(app) as client:
        await client.embeddings.create(model=MODEL, input="a")
        with pytest.raises(openai.RateLimitError):
            await client.embeddings.create(model=MODEL, input="a")


def cosine(one: str, other: str) -> float:
    return float(np.dot(vector_of(one), vector_of(other)))


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
async def test_scores_are_of_one_text_with_each_or_of_pairs(path: str) -> None:
    one = {"text_1": TEXTS[0], "text_2": TEXTS}
    pairs = {"text_1": TEXTS, "text_2": TEXTS[::-1]}
    for body, expected in (
        (one, [cosine(TEXTS[0], text) for text in TEXTS]),
        (pairs, list(map(cosine, TEXTS, TEXTS[::-1]))),
    ):
        status, answer = await post(path, body)
        assert status == 200
        assert [item["score"] for item in answer["data"]] == pytest.approx(expected, abs=1e-6)
    status, answer = await post(path, {"text_1": TEXTS[:2], "text_2": TEXTS})
    assert (status, answer["error"]["param"]) == (400, "text_1")


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
async def test_documents_come_back_the_most_relevant_first(path: str) -> None:
    body = {"query": "the fox", "documents": TEXTS}
    status, answer = await post(path, body)
    assert status == 200
    results = answer["results"]
    assert [item["document"]["text"] for item in results] == sorted(
        TEXTS, key=lambda text: -cosine("the fox", text)
    )
    assert_scores_of(results, "the fox")
    _, best = await post(path, body | {"top_n": 1})
    assert best["results"] == results[:1]
    status, answer = await post(path, body | {"top_n": -1})
    assert (status, answer["error"]["param"]) == (400, "top_n")


def assert_scores_of(results: Sequence[dict[str, Any]], query: str) -> None:
    for item in results:
        text = TEXTS[item["index"]]
        assert item["document"] == {"text": text}
        assert item["relevance_score"] == pytest.approx(cosine(query, text), abs=1e-6)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "fox"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "fox"}]}),
        ("/v1/responses", {"input": "fox"}),
    ],
)
async def test_a_model_that_makes_embeddings_alone_is_asked_for_no_text(
    path: str, body: dict[str, Any]
) -> None:
    service = make_service(ScriptedBackend())
    info = replace(service.info, pooling=Pooling.MEAN, generates=False)
    async with http_client(create_app(replace(service, info=info))) as client:
        refusal = await client.post(path, json=body)
        vectors = await client.post("/v1/embeddings", json={"input": "fox"})
    assert refusal.status_code == 400
    assert refusal.json()["error"]["param"] == "model"
    assert "/v1/embeddings" in refusal.json()["error"]["message"]
    assert vectors.status_code == 200
