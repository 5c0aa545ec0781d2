"""From a typed request to a plan: the checks that need the model's context and all prompts."""

import dataclasses
from collections.abc import Sequence

from starlette.requests import Request

from legato.cluster.generation import GenerationRequest
from legato.deployments.openai.auth import cache_salt, tenant
from legato.deployments.openai.constraint import Constraint
from legato.deployments.openai.generation import GenerationPlan, OutputOptions, Prompt
from legato.deployments.openai.message.message_parser import MessageReading
from legato.deployments.openai.sampling import asks_for_prompt_alone, fit_max_tokens, sampling_seeds
from legato.deployments.openai.schema import CompletionRequest, PromptFields, StreamOptions
from legato.deployments.openai.service import ApiService
from legato.deployments.openai.truncation import truncated
from legato.engine.errors import InvalidRequestError
from legato.engine.limits import check_prompt_logprobs
from legato.engine.sampling_params import SamplingParams


def check_fan_out(num_prompts: int, n: int, service: ApiService) -> None:
    """Refuses one request that would become too many sequences.

    Raises:
        InvalidRequestError: n times the number of prompts is above the limit.
    """
    limit = service.limits.max_sequences
    if num_prompts * n > limit:
        raise InvalidRequestError(
            f"{num_prompts} prompts times n={n} is above the limit of {limit}",
            "n" if n > 1 else "prompt",
        )


def output_options(fields: PromptFields) -> OutputOptions:
    """Raises InvalidRequestError for what goes only with a stream, or only without one."""
    stream = bool(fields.stream)
    if fields.stream_options is not None and not stream:
        raise InvalidRequestError("needs stream to be true", "stream_options")
    if stream and fields.prompt_logprobs is not None:
        raise InvalidRequestError("cannot be combined with stream", "prompt_logprobs")
    wanted = fields.stream_options or StreamOptions()
    return OutputOptions(
        stream=stream,
        include_usage=bool(wanted.include_usage) or fields.return_timeline,
        continuous_usage=bool(wanted.include_usage and wanted.continuous_usage_stats),
        token_ids=bool(fields.return_token_ids),
        timeline=fields.return_timeline,
        echo=isinstance(fields, CompletionRequest) and bool(fields.echo),
        prompt_alone=asks_for_prompt_alone(fields),
        prompt_logprobs=fields.prompt_logprobs,
        tokens_as_ids=bool(fields.return_tokens_as_token_ids),
    )


async def without_bad_words(service: ApiService, params: SamplingParams) -> SamplingParams:
    """The same, with its bad words as the model's tokens."""
    if not params.bad_words:
        return params
    return await service.tokenizer.resolve_bad_words(params, service.info.vocab_size)


async def held_to(
    service: ApiService, params: SamplingParams, constraint: Constraint | None
) -> SamplingParams:
    """The same, with the form that the answer is held to.

    Raises:
        InvalidRequestError: no answer could be held to it.
    """
    if constraint is None:
        return params
    for one in (*constraint.forms, constraint):  # each is at fault under its own name
        await service.grammars.check(one)
    return dataclasses.replace(params, structured_output=constraint.output)


@dataclasses.dataclass(frozen=True, slots=True)
class Intent:
    """What an endpoint has made of a request before the prompts' lengths are looked at."""

    http: Request
    fields: PromptFields
    params: SamplingParams
    arrived_s: float
    reading: MessageReading | None = None


def plan_generation(
    service: ApiService, intent: Intent, prompts: Sequence[Prompt]
) -> GenerationPlan:
    """Spreads prompts and `n` into sequences.

    Raises:
        ContextLengthError: a prompt and its answer do not fit the model's context.
        InvalidRequestError: a prompt has no tokens.
        RateLimitError: the client's key has had its share.
    """
    fields = intent.fields
    salt = cache_salt(intent.http.scope, fields.cache_salt)
    requests: list[GenerationRequest] = []
    prompts = [_truncated(prompt, intent, service) for prompt in prompts]
    for prompt in prompts:
        params = _params_for(prompt, intent.params, service)
        for index, seed in enumerate(sampling_seeds(fields.seed, intent.params.n)):
            if index == 1 and not fields.stream:  # the first answer tells them for all
                params = dataclasses.replace(params, prompt_logprobs=None)
            requests.append(
                GenerationRequest(prompt.token_ids, params, seed, fields.priority, salt)
            )
    client = tenant(intent.http.scope)
    budget = service.rate_limits.budget_of(client)
    budget.admit(sum(len(prompt.token_ids) for prompt in prompts))
    return GenerationPlan(
        model=service.info.resolve_model(fields.model),
        prompts=tuple(prompts),
        requests=tuple(requests),
        options=output_options(fields),
        arrived_s=intent.arrived_s,
        reading=intent.reading,
        budget=budget,
        tenant=client,
    )


def _truncated(prompt: Prompt, intent: Intent, service: ApiService) -> Prompt:
    context, max_tokens = service.info.max_model_len, intent.params.max_tokens
    token_ids = truncated(prompt.token_ids, intent.fields, max_tokens, context)
    if len(token_ids) == len(prompt.token_ids):
        return prompt
    text = service.tokenizer.tokenizer.decode(token_ids, False) if prompt.text else ""
    return Prompt(token_ids, text)


def _params_for(prompt: Prompt, params: SamplingParams, service: ApiService) -> SamplingParams:
    num_tokens = len(prompt.token_ids)
    if num_tokens == 0:
        raise InvalidRequestError("must have at least one token", "prompt")
    max_tokens = fit_max_tokens(params, num_tokens, service.info)
    check_prompt_logprobs(params, num_tokens)
    return dataclasses.replace(params, max_tokens=max_tokens)
