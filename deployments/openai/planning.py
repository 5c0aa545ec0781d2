"""From a typed request to a plan: the checks that need the model's context and all prompts."""

import dataclasses
from collections.abc import Sequence

from starlette.requests import Request

from legato.cluster.generation import GenerationRequest
from legato.deployments.openai.auth import cache_salt
from legato.deployments.openai.generation import GenerationPlan, OutputOptions, Prompt
from legato.deployments.openai.message.message_parser import MessageReading
from legato.deployments.openai.sampling import fit_max_tokens, sampling_seeds
from legato.deployments.openai.schema import GenerationFields, StreamOptions
from legato.deployments.openai.service import ApiService
from legato.engine.errors import InvalidRequestError
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


def output_options(fields: GenerationFields) -> OutputOptions:
    """Raises InvalidRequestError for stream options without a stream."""
    stream = bool(fields.stream)
    if fields.stream_options is not None and not stream:
        raise InvalidRequestError("needs stream to be true", "stream_options")
    wanted = fields.stream_options or StreamOptions()
    return OutputOptions(
        stream=stream,
        include_usage=bool(wanted.include_usage) or fields.return_timeline,
        continuous_usage=bool(wanted.include_usage and wanted.continuous_usage_stats),
        token_ids=bool(fields.return_token_ids),
        timeline=fields.return_timeline,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Intent:
    """What an endpoint has made of a request before the prompts' lengths are looked at."""

    http: Request
    fields: GenerationFields
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
    """
    fields = intent.fields
    salt = cache_salt(intent.http.scope, fields.cache_salt)
    requests: list[GenerationRequest] = []
    for prompt in prompts:
        if not prompt.token_ids:
            raise InvalidRequestError("must have at least one token", "prompt")
        max_tokens = fit_max_tokens(intent.params, len(prompt.token_ids), service.info)
        params = dataclasses.replace(intent.params, max_tokens=max_tokens)
        requests += [
            GenerationRequest(prompt.token_ids, params, seed, fields.priority, salt)
            for seed in sampling_seeds(fields.seed, intent.params.n)
        ]
    return GenerationPlan(
        model=service.info.resolve_model(fields.model),
        prompts=tuple(prompts),
        requests=tuple(requests),
        options=output_options(fields),
        arrived_s=intent.arrived_s,
        reading=intent.reading,
    )
