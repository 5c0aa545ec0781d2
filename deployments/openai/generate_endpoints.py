"""POST /v1/chat/completions and /v1/completions: door, prompts, plan, answer."""

import asyncio
import time
from dataclasses import replace

from starlette.requests import Request
from starlette.types import ASGIApp

from legato.deployments.openai.answer_response import answer
from legato.deployments.openai.body import read_request
from legato.deployments.openai.chat_format import ChatFormat
from legato.deployments.openai.chat_plan import ChatPlan
from legato.deployments.openai.completion_format import CompletionFormat
from legato.deployments.openai.constraint import Constraint, read_constraint
from legato.deployments.openai.conversation import to_conversation
from legato.deployments.openai.generation import Prompt
from legato.deployments.openai.planning import (
    Intent,
    check_fan_out,
    output_options,
    plan_generation,
)
from legato.deployments.openai.prompts import check_token_ids, split_prompts
from legato.deployments.openai.sampling import chat_sampling, completion_sampling
from legato.deployments.openai.schema import ChatRequest, CompletionRequest
from legato.deployments.openai.service import ApiService
from legato.engine.errors import InvalidRequestError
from legato.engine.sampling_params import SamplingParams


async def create_chat_completion(service: ApiService, http: Request) -> ASGIApp:
    arrived_s = time.monotonic()
    body = await read_request(http, ChatRequest, service.limits.max_body_bytes)
    service.info.resolve_model(body.model)
    output_options(body)
    params = chat_sampling(body, service.info)
    check_fan_out(1, params.n, service)
    chat = ChatPlan.of(body, service.dialect)
    if service.tokenizer.has_special(chat.markers()):
        params = replace(params, skip_special_tokens=False)
    params = await _held_to(service, params, chat.constraint)
    rendered = await service.tokenizer.encode_chat(to_conversation(body.messages), chat.rendering)
    reading = chat.reading(rendered.starts_thinking)
    intent = Intent(http, body, params, arrived_s, reading)
    plan = plan_generation(service, intent, [Prompt(rendered.token_ids)])
    return answer(service, plan, ChatFormat(plan, service.tokenizer.token_texts))


async def create_completion(service: ApiService, http: Request) -> ASGIApp:
    arrived_s = time.monotonic()
    body = await read_request(http, CompletionRequest, service.limits.max_body_bytes)
    service.info.resolve_model(body.model)
    output_options(body)
    params = completion_sampling(body, service.info)
    if body.echo and params.logprobs is not None:
        raise InvalidRequestError("logprobs of an echoed prompt are not supported", "echo")
    prompts = split_prompts(body.prompt)
    check_fan_out(len(prompts), params.n, service)
    params = await _held_to(service, params, read_constraint(body))
    encoded = await asyncio.gather(*(_to_prompt(service, body, prompt) for prompt in prompts))
    plan = plan_generation(service, Intent(http, body, params, arrived_s), encoded)
    return answer(service, plan, CompletionFormat(plan, service.tokenizer.token_texts))


async def _held_to(
    service: ApiService, params: SamplingParams, constraint: Constraint | None
) -> SamplingParams:
    """The same, with the form that the answer is held to.

    Raises:
        InvalidRequestError: no answer could be held to it.
    """
    if constraint is None:
        return params
    await service.grammars.check(constraint)
    return replace(params, structured_output=constraint.output)


async def _to_prompt(
    service: ApiService, body: CompletionRequest, prompt: str | list[int]
) -> Prompt:
    if isinstance(prompt, str):
        token_ids = await service.tokenizer.encode(prompt, body.add_special_tokens, "prompt")
        return Prompt(token_ids, prompt if body.echo else "")
    check_token_ids(prompt, service.info.vocab_size, "prompt")
    text = await service.tokenizer.decode(prompt) if body.echo else ""
    return Prompt(tuple(prompt), text)
