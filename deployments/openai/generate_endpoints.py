"""POST /v1/chat/completions and /v1/completions: door, prompts, plan, answer."""

import asyncio
import time

from starlette.requests import Request
from starlette.types import ASGIApp

from legato.deployments.openai.answer_response import answer
from legato.deployments.openai.body import read_request
from legato.deployments.openai.chat_format import ChatFormat
from legato.deployments.openai.chat_planning import Arrival, plan_chat
from legato.deployments.openai.completion_format import CompletionFormat
from legato.deployments.openai.constraint import read_constraint
from legato.deployments.openai.generation import GenerationPlan, Prompt
from legato.deployments.openai.planning import (
    Intent,
    check_fan_out,
    held_to,
    output_options,
    plan_generation,
    without_bad_words,
)
from legato.deployments.openai.prompts import check_token_ids, split_prompts
from legato.deployments.openai.sampling import completion_sampling
from legato.deployments.openai.schema import ChatRequest, CompletionRequest
from legato.deployments.openai.service import ApiService
from legato.deployments.openai.token_texts import TokenTexts


async def create_chat_completion(service: ApiService, http: Request) -> ASGIApp:
    arrival = Arrival(http)
    body = await read_request(http, ChatRequest, service.limits.max_body_bytes)
    plan = await plan_chat(service, body, arrival)
    return answer(service, plan, ChatFormat(plan, _texts(service, plan)))


async def create_completion(service: ApiService, http: Request) -> ASGIApp:
    arrived_s = time.monotonic()
    body = await read_request(http, CompletionRequest, service.limits.max_body_bytes)
    service.info.resolve_generator(body.model)
    output_options(body)
    params = completion_sampling(body, service.info)
    prompts = split_prompts(body.prompt)
    check_fan_out(len(prompts), params.n, service)
    params = await held_to(service, params, read_constraint(body))
    params = await without_bad_words(service, params)
    encoded = await asyncio.gather(*(_to_prompt(service, body, prompt) for prompt in prompts))
    plan = plan_generation(service, Intent(http, body, params, arrived_s), encoded)
    return answer(service, plan, CompletionFormat(plan, _texts(service, plan)))


def _texts(service: ApiService, plan: GenerationPlan) -> TokenTexts:
    return service.tokenizer.texts_for_logprobs(plan.options.tokens_as_ids)


async def _to_prompt(
    service: ApiService, body: CompletionRequest, prompt: str | list[int]
) -> Prompt:
    if isinstance(prompt, str):
        token_ids = await service.tokenizer.encode(prompt, body.add_special_tokens, "prompt")
        return Prompt(token_ids, prompt if body.echo else "")
    check_token_ids(prompt, service.info.vocab_size, "prompt")
    text = await service.tokenizer.decode(prompt) if body.echo else ""
    return Prompt(tuple(prompt), text)
