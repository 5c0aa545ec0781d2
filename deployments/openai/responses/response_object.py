"""The response object: what was asked for, how far it is, and what has come of it.

queued ──> in_progress ─┬─> completed
   (in the background)  ├─> incomplete   there were no tokens left
                        ├─> failed       `error` says why
                        └─> cancelled    in the background alone
"""

import secrets
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from legato.deployments.openai.responses.items import OutputItem
from legato.deployments.openai.responses.request import ResponsesRequest, TextOptions
from legato.deployments.openai.responses.translation import echoed_tools
from legato.deployments.openai.usage import Usage
from legato.engine.sampling_params import SamplingParams

_FORMAT_FIELDS = ("type", "name", "description", "schema", "strict")


class Status(StrEnum):
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"


class FailureInfo(msgspec.Struct, frozen=True):
    code: str
    message: str


class IncompleteDetails(msgspec.Struct, frozen=True):
    reason: str


class InputTokensDetails(msgspec.Struct, frozen=True):
    cached_tokens: int
    cache_write_tokens: int = 0  # nobody pays for writing here


class OutputTokensDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int


class ResponseUsage(msgspec.Struct, frozen=True):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> "ResponseUsage":
        details = usage.completion_tokens_details
        return cls(
            usage.prompt_tokens,
            InputTokensDetails(usage.prompt_tokens_details.cached_tokens),
            usage.completion_tokens,
            OutputTokensDetails(details.reasoning_tokens if details else 0),
            usage.total_tokens,
        )


class ResponseObject(msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="response"):
    """Fields are OpenAI's. What the request left open is here as it was settled."""

    id: str
    created_at: int  # unix time, seconds
    status: Status
    model: str
    background: bool
    completed_at: int | None = None
    error: FailureInfo | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    output: tuple[OutputItem, ...] = ()
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: dict[str, str | None]
    safety_identifier: str | None
    service_tier: str = "default"
    temperature: float
    text: dict[str, Any]
    tool_choice: str | Mapping[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: str
    usage: ResponseUsage | None = None
    user: str | None

    @classmethod
    def of(cls, body: ResponsesRequest, model: str, params: SamplingParams) -> "ResponseObject":
        """The response before anything has come of it."""
        reasoning = body.reasoning
        return cls(
            id=f"resp_{secrets.token_hex(24)}",
            created_at=int(time.time()),
            status=Status.QUEUED if body.background else Status.IN_PROGRESS,
            model=model,
            background=bool(body.background),
            instructions=body.instructions,
            max_output_tokens=body.max_output_tokens,
            max_tool_calls=body.max_tool_calls,
            metadata=body.metadata or {},
            parallel_tool_calls=body.parallel_tool_calls is not False,
            previous_response_id=body.previous_response_id,
            prompt_cache_key=body.prompt_cache_key,
            reasoning={
                "effort": reasoning.effort if reasoning else None,
                "summary": reasoning.summary if reasoning else None,
            },
            safety_identifier=body.safety_identifier,
            temperature=params.temperature,
            text=_echoed_text(body.text or TextOptions()),
            tool_choice=body.tool_choice or "auto",
            tools=echoed_tools(body.tools),
            top_logprobs=body.top_logprobs or 0,
            top_p=params.top_p,
            truncation=body.truncation or "disabled",
            user=body.user,
        )


def _echoed_text(text: TextOptions) -> dict[str, Any]:
    given = text.format or {"type": "text"}
    echoed = {name: given[name] for name in _FORMAT_FIELDS if name in given}
    return {"format": echoed, "verbosity": text.verbosity or "medium"}
