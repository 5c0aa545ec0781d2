"""The bodies that clients may send, field by field. Ranges are checked elsewhere.

    GenerationFields ── PromptFields ─┬─ ChatRequest            TokenizeRequest
                                      └─ CompletionRequest      DetokenizeRequest

Types are strict (a bool is no int) and unknown fields are ignored. A field that is known, but that
cannot be served, is not here but in legato.deployments.openai.body, which refuses it by name.
"""

from typing import Any, Literal

import msgspec

Prompt = str | list[str | int | list[int]]  # text, texts, token ids, or lists of token ids


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None  # vLLM's: running usage on every chunk


class GenerationFields(msgspec.Struct, frozen=True, kw_only=True):
    """What chat and completions share. None: not given, the model's or OpenAI's default."""

    model: str | None = None
    n: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # vLLM's
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    min_tokens: int = 0
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True  # of tokenizers that put spaces there; ours do not
    allowed_token_ids: list[int] | None = None
    bad_words: list[str] | None = None
    truncate_prompt_tokens: int | None = None  # -1: as the model's context has it
    truncation_side: Literal["left", "right"] | None = None
    priority: int = 0
    cache_salt: str | None = None
    return_token_ids: bool | None = None
    # the answer's form: OpenAI's, vLLM's, and the names that vLLM had before
    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    # ours
    return_timeline: bool = False  # seconds by stage, in usage.timeline


class PromptFields(GenerationFields, frozen=True, kw_only=True):
    """What only the answers of these two endpoints can show. The names are vLLM's."""

    prompt_logprobs: int | None = None
    return_tokens_as_token_ids: bool | None = None  # in logprobs: "token_id:5" for the text


class ContentPart(msgspec.Struct, frozen=True):
    type: str
    text: str | None = None


class FunctionCall(msgspec.Struct, frozen=True):
    name: str
    arguments: str | dict[str, Any] | None = None  # JSON text, as it was in an answer


class ToolCall(msgspec.Struct, frozen=True):
    function: FunctionCall
    id: str | None = None
    type: str = "function"


class ChatMessage(msgspec.Struct, frozen=True):
    role: str
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: Any = None
    reasoning: str | None = None
    reasoning_content: str | None = None  # the same under its other name


class ChatRequest(PromptFields, frozen=True, kw_only=True):
    messages: list[ChatMessage]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False
    add_special_tokens: bool = False
    chat_template_kwargs: dict[str, Any] | None = None
    documents: list[dict[str, Any]] | None = None  # for templates that know what to do with them
    reasoning_effort: str | None = None
    tools: list[dict[str, Any]] | None = None  # whole: templates show all of it to the model
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    include_reasoning: bool = True


class CompletionRequest(PromptFields, frozen=True, kw_only=True):
    prompt: Prompt
    logprobs: int | None = None
    echo: bool | None = None
    add_special_tokens: bool = True


class TokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Either `prompt` or `messages`; `add_special_tokens` is True for a prompt by default."""

    model: str | None = None
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False
    chat_template_kwargs: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    tokens: list[int]
    model: str | None = None
