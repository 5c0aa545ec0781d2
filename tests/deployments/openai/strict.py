"""Answers held against the types of the installed openai package, to the letter."""

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel

# What vLLM and Legato send on top; everything else has to be a field of the schema.
EXTENSIONS = {"stop_reason", "reasoning", "reasoning_content", "token_ids", "prompt_token_ids"}

M = TypeVar("M", bound=BaseModel)


def validated(kind: type[M], body: str | bytes) -> M:
    """The body as `kind`; fields of wrong types, missing ones and unknown ones fail."""
    answer = kind.model_validate_json(body, strict=True)
    unknown = {name for model in _models(answer) for name in model.model_extra or {}}
    assert unknown <= EXTENSIONS, unknown
    return answer


def _models(value: Any) -> Iterator[BaseModel]:
    if isinstance(value, BaseModel):
        yield value
        for name in value.model_fields_set:
            yield from _models(getattr(value, name))
    elif isinstance(value, list):
        for element in value:
            yield from _models(element)
