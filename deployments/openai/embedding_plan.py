"""From texts or token ids to plans that end with a vector of each.

A vector is made by the engine that generates: of a prompt whose answer nobody reads. Many inputs
run in waves, so that one request does not take all places in the queues.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from legato.cluster.generation import GenerationRequest
from legato.deployments.openai.auth import cache_salt, tenant
from legato.deployments.openai.embedding_schema import EmbeddingFields
from legato.deployments.openai.generation import GenerationPlan, OutputOptions, Prompt
from legato.deployments.openai.prompts import check_token_ids
from legato.deployments.openai.sampling import check_priority_and_salt, fit_max_tokens
from legato.deployments.openai.service import ApiService
from legato.deployments.openai.truncation import truncated
from legato.engine.errors import InvalidRequestError
from legato.engine.sampling_params import SamplingParams

MAX_INPUTS = 2048


@dataclass(frozen=True, slots=True)
class EmbeddingIntent:
    """A request for vectors, its body typed."""

    http: Request
    fields: EmbeddingFields
    param: str  # of the body, that holds the inputs
    arrived_s: float = field(default_factory=time.monotonic)


async def plan_embeddings(
    service: ApiService, intent: EmbeddingIntent, inputs: Sequence[str | list[int]]
) -> list[GenerationPlan]:
    """The waves in which the inputs' vectors are made, in their order.

    Raises:
        RequestError: the server makes no vectors, a field is wrong, or an input does not fit.
        RateLimitError: the client's key has had its share.
    """
    model = service.info.resolve_model(intent.fields.model)
    if service.info.pooling is None:
        raise InvalidRequestError(
            "this server makes no embeddings: start it with --convert embed", "model"
        )
    if len(inputs) > MAX_INPUTS:
        raise InvalidRequestError(f"at most {MAX_INPUTS} inputs", intent.param)
    check_priority_and_salt(intent.fields.priority, intent.fields.cache_salt)
    params = SamplingParams(temperature=0, max_tokens=1, pooling=service.info.pooling)
    prompts = await asyncio.gather(*(_to_prompt(service, intent, one, params) for one in inputs))
    client = tenant(intent.http.scope)
    budget = service.rate_limits.budget_of(client)
    budget.admit(sum(len(prompt.token_ids) for prompt in prompts))
    salt = cache_salt(intent.http.scope, intent.fields.cache_salt)
    requests = [
        GenerationRequest(prompt.token_ids, params, 0, intent.fields.priority, salt)
        for prompt in prompts
    ]
    size = service.limits.max_sequences
    return [
        GenerationPlan(
            model=model,
            prompts=tuple(prompts[start : start + size]),
            requests=tuple(requests[start : start + size]),
            options=OutputOptions(prompt_alone=True),
            arrived_s=intent.arrived_s,
            budget=budget,
            tenant=client,
        )
        for start in range(0, len(requests), size)
    ]


async def _to_prompt(
    service: ApiService, intent: EmbeddingIntent, given: str | list[int], params: SamplingParams
) -> Prompt:
    fields, info = intent.fields, service.info
    if isinstance(given, str):
        token_ids = await service.tokenizer.encode(given, fields.add_special_tokens, intent.param)
    else:
        check_token_ids(given, info.vocab_size, intent.param)
        token_ids = tuple(given)
    if not token_ids:
        raise InvalidRequestError("must have at least one token", intent.param)
    token_ids = truncated(token_ids, fields, params.max_tokens, info.max_model_len)
    fit_max_tokens(params, len(token_ids), info)
    return Prompt(token_ids)
