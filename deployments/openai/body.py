"""From the bytes of a request to one of the frozen requests of schema.py, or a clear refusal.

Nothing that is read here reaches a neighbour: bytes are counted while they arrive, JSON is strict
(no NaN, no lone surrogate, bounded depth), and a field that Legato knows but cannot honour is
refused by its name, instead of being dropped in silence.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from legato.engine.errors import InvalidRequestError

logger = logging.getLogger(__name__)

T = TypeVar("T", bound=msgspec.Struct)

# Made inside the cluster, and dangerous in a client's hands.
_INTERNAL = frozenset(
    {"kv_transfer_params", "request_id", "mm_hashes", "prompt_embeds", "vllm_xargs"}
)
# They would change the answer, and there is nothing here that does what they say: except at those
# endpoints whose requests have the field.
_UNSUPPORTED = frozenset(
    {
        "audio",
        "chat_template",
        "documents",
        "echo",
        "functions",
        "logprob_token_ids",
        "logits_processors",
        "moderation",
        "prompt_logprobs",
        "repetition_detection",
        "return_prompt_text",
        "return_token_offsets",
        "return_tokens_as_token_ids",
        "structured_outputs",
        "suffix",
        "thinking_token_budget",
        "tools",
        "use_beam_search",
        "web_search_options",
    }
)
# Values besides null and "nothing" that ask for what happens anyway.
_HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "best_of": (1,),
}
_PATH = re.compile(r" - at `(?:key` in `)?\$\.?(?P<path>[^`]*)`$")
_MISSING_FIELD = re.compile(r"missing required field `(?P<field>\w+)`$")


async def read_request(request: Request, kind: type[T], max_bytes: int) -> T:
    """Reads, decodes and types the body.

    Raises:
        HTTPException: 413, the body is longer than `max_bytes`.
        InvalidRequestError: it is not JSON, no object, or a field is of a wrong type or refused.
    """
    body = await _read_limited(request, max_bytes)
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"the body is not valid JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidRequestError("the body must be a JSON object")
    others = fields.keys() - set(kind.__struct_encode_fields__)
    _refuse_unsupported({name: fields[name] for name in others})
    try:
        typed = msgspec.convert(fields, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise _typed_error(str(error)) from None
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("ignored fields: %s", sorted(others))
    return typed


async def _read_limited(request: Request, max_bytes: int) -> bytes:
    too_large = HTTPException(413, f"the body is longer than {max_bytes} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)


def _refuse_unsupported(fields: Mapping[str, Any]) -> None:
    for name in fields.keys() & _INTERNAL:
        if fields[name] is not None:
            raise InvalidRequestError("is made inside the server and is not taken here", name)
    for name in fields.keys() & _UNSUPPORTED:
        if not _asks_for_nothing(fields[name]):
            raise InvalidRequestError("is not supported", name)
    for name in fields.keys() & _HARMLESS.keys():
        value = fields[name]
        if value is not None and value not in _HARMLESS[name]:
            raise InvalidRequestError(f"only {_HARMLESS[name][0]!r} is supported", name)


def _asks_for_nothing(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})


def _typed_error(message: str) -> InvalidRequestError:
    """msgspec's message, with the place that it names as OpenAI's `param`."""
    at = _PATH.search(message)
    text = _PATH.sub("", message)
    missing = _MISSING_FIELD.search(text)
    param = at["path"] if at else ""
    if missing:
        param = f"{param}.{missing['field']}" if param else missing["field"]
        text = "this field is required"
    return InvalidRequestError(text[:1].lower() + text[1:], param or None)
