from dataclasses import replace

import pytest
from starlette.requests import Request

from legato.deployments.openai.embedding_plan import EmbeddingIntent, plan_embeddings
from legato.deployments.openai.embedding_schema import EmbeddingRequest
from legato.deployments.openai.service import Limits
from legato.engine.errors import InvalidRequestError
from legato.engine.sampling_params import Pooling
from legato.tests.deployments.openai.harness import ScriptedBackend, encode, make_service

SERVICE = make_service(ScriptedBackend(), limits=Limits(max_sequences=3))
SCOPE = {"type": "http", "method": "POST", "path": "/v1/embeddings", "headers": []}


def intent(cache_salt: str | None = None) -> EmbeddingIntent:
    body = EmbeddingRequest(input="a", cache_salt=cache_salt, priority=4)
    return EmbeddingIntent(Request(SCOPE), body, "input")


async def test_nothing_is_planned_where_the_model_only_generates() -> None:
    with pytest.raises(InvalidRequestError, match="--convert embed"):
        await plan_embeddings(SERVICE, intent(), ["a"])


async def test_inputs_are_cut_into_waves_of_prompts_without_answers() -> None:
    service = replace(SERVICE, info=replace(SERVICE.info, pooling=Pooling.MEAN))
    texts = [f"text {i}" for i in range(7)]
    plans = await plan_embeddings(service, intent("mine"), texts)
    assert [len(plan.requests) for plan in plans] == [3, 3, 1]
    assert all(plan.options.prompt_alone for plan in plans)
    requests = [request for plan in plans for request in plan.requests]
    assert [request.prompt_token_ids for request in requests] == list(map(encode, texts))
    [unsalted] = await plan_embeddings(service, intent(), ["a"])
    for request in requests:
        assert (request.params.max_tokens, request.params.pooling) == (1, Pooling.MEAN)
        assert request.priority == 4
        assert request.salt != unsalted.requests[0].salt
