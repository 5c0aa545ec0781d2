"""From the request for a chat to a plan, for every endpoint whose answers are chats."""

import time
from dataclasses import dataclass, field, replace

from starlette.requests import Request

from legato.deployments.openai.chat_plan import ChatPlan
from legato.deployments.openai.conversation import to_conversation
from legato.deployments.openai.generation import GenerationPlan, Prompt
from legato.deployments.openai.planning import (
    Intent,
    check_fan_out,
    held_to,
    output_options,
    plan_generation,
    without_bad_words,
)
from legato.deployments.openai.sampling import chat_sampling
from legato.deployments.openai.schema import ChatRequest
from legato.deployments.openai.service import ApiService
from legato.deployments.openai.tokenizer import RenderedChat


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that has just come in."""

    http: Request
    arrived_s: float = field(default_factory=time.monotonic)


async def plan_chat(service: ApiService, body: ChatRequest, arrival: Arrival) -> GenerationPlan:
    """Checks a chat, renders it and spreads it into sequences.

    Raises:
        RequestError: a field is wrong, or the chat does not fit the model's context.
        OverloadedError: rendering it takes too long.
    """
    service.info.resolve_generator(body.model)
    output_options(body)
    params = chat_sampling(body, service.info)
    check_fan_out(1, params.n, service)
    chat = _plan(service, body)
    if service.tokenizer.has_special(chat.markers()):
        params = replace(params, skip_special_tokens=False)
    params = await held_to(service, params, chat.constraint)
    params = await without_bad_words(service, params)
    rendered = await _render(service, body, chat)
    reading = chat.reading(rendered.starts_thinking)
    intent = Intent(arrival.http, body, params, arrival.arrived_s, reading)
    return plan_generation(service, intent, [Prompt(rendered.token_ids)])


async def render_chat(service: ApiService, body: ChatRequest) -> RenderedChat:
    """The chat as the model would get it, whether or not its answer would fit as well.

    Raises:
        RequestError: its messages, tools or form are wrong.
        OverloadedError: it takes too long.
    """
    return await _render(service, body, _plan(service, body))


def _plan(service: ApiService, body: ChatRequest) -> ChatPlan:
    return ChatPlan.of(body, service.dialect, service.tokenizer.added_tokens)


async def _render(service: ApiService, body: ChatRequest, chat: ChatPlan) -> RenderedChat:
    return await service.tokenizer.encode_chat(to_conversation(body.messages), chat.rendering)
