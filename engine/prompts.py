"""The forms in which `LLM.generate` takes prompts, brought into one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from legato.engine.errors import InvalidRequestError
from legato.engine.tokenizer import Tokenizer

Prompt = str | Sequence[int] | Mapping[str, object]


@dataclass(frozen=True, slots=True)
class TokenizedPrompt:
    text: str | None
    token_ids: tuple[int, ...]


def tokenize_prompts(
    prompts: Prompt | Sequence[Prompt], tokenizer: Tokenizer | None
) -> list[TokenizedPrompt]:
    """One prompt or many, each a text, token ids, {"prompt": ...} or {"prompt_token_ids": ...}.

    Raises:
        InvalidRequestError: a prompt has none of these forms, or is a text without a tokenizer.
    """
    if isinstance(prompts, str | Mapping) or (prompts and _is_token_ids(prompts)):
        prompts = [prompts]
    return [_tokenize(prompt, tokenizer) for prompt in prompts]


def _tokenize(prompt: object, tokenizer: Tokenizer | None) -> TokenizedPrompt:
    if isinstance(prompt, Mapping):
        named = prompt.get("prompt_token_ids", prompt.get("prompt"))
        return _tokenize(None if isinstance(named, Mapping) else named, tokenizer)
    if isinstance(prompt, str):
        if tokenizer is None:
            raise InvalidRequestError(
                "a text needs a tokenizer; with skip_tokenizer_init give token ids", "prompt"
            )
        return TokenizedPrompt(prompt, tuple(tokenizer.encode(prompt)))
    if _is_token_ids(prompt):
        return TokenizedPrompt(None, tuple(prompt))
    raise InvalidRequestError(
        f"a prompt is a text, a list of token ids or a dict with one of them, not {prompt!r:.80}",
        "prompt",
    )


def _is_token_ids(value: object) -> TypeGuard[Sequence[int]]:
    return isinstance(value, Sequence) and all(
        isinstance(item, int) and not isinstance(item, bool) for item in value
    )
