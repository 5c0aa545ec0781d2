"""The body of POST /v1/responses, and what it must not say.

What this endpoint has in common with chats (sampling, and vLLM's extras) is inherited. Fields that
chats have by another name, or that cannot be answered in this schema, are refused by name.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from legato.deployments.openai.schema import GenerationFields
from legato.engine.errors import InvalidRequestError

MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY_CHARS = 64
MAX_METADATA_VALUE_CHARS = 512
LOGPROBS = "message.output_text.logprobs"
# The others ask for more about what does not exist here, or for thoughts that are not hidden.
_INCLUDABLE = frozenset(
    {
        LOGPROBS,
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "message.input_image.image_url",
        "reasoning.encrypted_content",
        "web_search_call.action.sources",
        "web_search_call.results",
    }
)
_UNSUPPORTED = ("context_management", "conversation", "moderation", "prompt")
_OTHER_NAMES = {"max_tokens": "max_output_tokens", "response_format": "text.format"}
# The schema has no place for more, or for other things.
_ONLY: Mapping[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "return_timeline": (None, False),
    "return_token_ids": (None, False),
}

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
SummaryKind = Literal["auto", "concise", "detailed"]


class GivenPart(msgspec.Struct, frozen=True):
    type: str
    text: str | None = None
    refusal: str | None = None


class GivenItem(msgspec.Struct, frozen=True):
    """Any item, as it was sent: what its type asks for is looked at later."""

    type: str | None = None
    id: str | None = None
    status: str | None = None
    role: str | None = None
    content: str | list[GivenPart] | None = None
    summary: list[GivenPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[GivenPart] | None = None


class ReasoningOptions(msgspec.Struct, frozen=True):
    effort: Effort | None = None
    summary: SummaryKind | None = None
    generate_summary: SummaryKind | None = None  # the same under its older name


class TextOptions(msgspec.Struct, frozen=True):
    format: dict[str, Any] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class InputFields(GenerationFields, frozen=True, kw_only=True):
    """What the model is to be told."""

    input: str | list[GivenItem] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningOptions | None = None
    text: TextOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    context_management: Any = None
    conversation: Any = None
    moderation: Any = None
    prompt: Any = None


class ResponsesRequest(InputFields, frozen=True, kw_only=True):
    background: bool | None = None
    include: list[str] | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None  # of tools that run in the server: there are none
    metadata: dict[str, str] | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    store: bool | None = None
    top_logprobs: int | None = None
    user: str | None = None

    @property
    def wants_logprobs(self) -> bool:
        return bool(self.top_logprobs) or LOGPROBS in (self.include or ())

    @property
    def wants_summary(self) -> bool:
        """Whether thoughts are to be where clients look that know of summaries alone."""
        reasoning = self.reasoning or ReasoningOptions()
        return (reasoning.summary or reasoning.generate_summary) is not None


def check_input_fields(body: InputFields) -> None:
    """Raises InvalidRequestError for a field that is not supported, or not of this endpoint."""
    for name in _UNSUPPORTED:
        if getattr(body, name):
            raise InvalidRequestError("is not supported", name)
    for name, possible in _ONLY.items():
        if getattr(body, name) not in possible:
            raise InvalidRequestError("is not supported by this endpoint", name)
    for name, own_name in _OTHER_NAMES.items():
        if getattr(body, name) is not None:
            raise InvalidRequestError(f"is {own_name} at this endpoint", name)


def check_request(body: ResponsesRequest) -> None:
    """Raises InvalidRequestError for what `check_input_fields` refuses, and for wrong values."""
    check_input_fields(body)
    for i, name in enumerate(body.include or ()):
        if name not in _INCLUDABLE:
            raise InvalidRequestError(f"must be one of {sorted(_INCLUDABLE)}", f"include[{i}]")
    if body.max_output_tokens is not None and body.max_output_tokens < 1:
        raise InvalidRequestError("must be at least 1", "max_output_tokens")
    if body.max_tool_calls is not None and body.max_tool_calls < 1:
        raise InvalidRequestError("must be at least 1", "max_tool_calls")
    if body.background and body.store is False:
        raise InvalidRequestError("needs store: the answer could not be asked for", "background")
    _check_metadata(body.metadata or {})


def _check_metadata(metadata: dict[str, str]) -> None:
    if len(metadata) > MAX_METADATA_PAIRS:
        raise InvalidRequestError(f"at most {MAX_METADATA_PAIRS} pairs", "metadata")
    for key, value in metadata.items():
        if len(key) > MAX_METADATA_KEY_CHARS or len(value) > MAX_METADATA_VALUE_CHARS:
            raise InvalidRequestError(
                f"at most {MAX_METADATA_KEY_CHARS} characters in a key and "
                f"{MAX_METADATA_VALUE_CHARS} in a value",
                "metadata",
            )
