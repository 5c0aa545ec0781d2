"""Log probabilities in the two schemas that OpenAI has for them."""

from collections.abc import Sequence

import msgspec

from legato.deployments.openai.token_texts import TokenTexts
from legato.engine.batch import TokenLogprobs

_LOWEST = -9999.0  # JSON has no infinity


class TopLogprob(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: tuple[int, ...]


class TokenLogprob(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: tuple[int, ...]
    top_logprobs: list[TopLogprob]


class ChatLogprobs(msgspec.Struct, frozen=True):
    content: list[TokenLogprob]
    refusal: None = None


class CompletionLogprobs(msgspec.Struct, frozen=True):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


def chat_logprobs(logprobs: Sequence[TokenLogprobs], texts: TokenTexts) -> ChatLogprobs:
    """One entry for each token, with the alternatives that were asked for."""
    return ChatLogprobs([_chat_entry(entry, texts) for entry in logprobs])


def completion_logprobs(
    logprobs: Sequence[TokenLogprobs], texts: TokenTexts, first_offset: int
) -> CompletionLogprobs:
    """Parallel lists; `first_offset` is the first token's place in the text, in characters."""
    tokens = [texts.of(entry.token_id).text for entry in logprobs]
    offsets = []
    for token in tokens:
        offsets.append(first_offset)
        first_offset += len(token)
    return CompletionLogprobs(
        tokens,
        [_finite(entry.logprob) for entry in logprobs],
        [_alternatives(entry, texts) for entry in logprobs],
        offsets,
    )


def _chat_entry(entry: TokenLogprobs, texts: TokenTexts) -> TokenLogprob:
    chosen = texts.of(entry.token_id)
    top = [
        TopLogprob(texts.of(token_id).text, _finite(logprob), texts.of(token_id).bytes)
        for token_id, logprob in entry.top
    ]
    return TokenLogprob(chosen.text, _finite(entry.logprob), chosen.bytes, top)


def _alternatives(entry: TokenLogprobs, texts: TokenTexts) -> dict[str, float]:
    """The likeliest tokens, and always the chosen one."""
    likeliest = {texts.of(token_id).text: _finite(logprob) for token_id, logprob in entry.top}
    return likeliest | {texts.of(entry.token_id).text: _finite(entry.logprob)}


def _finite(logprob: float) -> float:
    return max(logprob, _LOWEST)
