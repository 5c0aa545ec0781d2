"""Log probabilities in the two schemas that OpenAI has for them."""

import dataclasses
from collections.abc import Sequence
from itertools import accumulate

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
    """Parallel lists; None stands for what is not known, which is the first token of all."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]

    def __add__(self, behind: "CompletionLogprobs") -> "CompletionLogprobs":
        return CompletionLogprobs(
            self.tokens + behind.tokens,
            self.token_logprobs + behind.token_logprobs,
            self.top_logprobs + behind.top_logprobs,
            self.text_offset + behind.text_offset,
        )


class PromptLogprob(msgspec.Struct, frozen=True):
    """vLLM's. The keys beside it are token ids, which alone tell two tokens of one text apart."""

    logprob: float
    rank: int
    decoded_token: str


def chat_logprobs(logprobs: Sequence[TokenLogprobs], texts: TokenTexts) -> ChatLogprobs:
    """One entry for each token, with the alternatives that were asked for."""
    return ChatLogprobs([_chat_entry(entry, texts) for entry in logprobs])


def completion_logprobs(
    logprobs: Sequence[TokenLogprobs], texts: TokenTexts, first_offset: int
) -> CompletionLogprobs:
    """Of an answer; `first_offset` is its first token's place in the text, in characters."""
    tokens = [texts.of(entry.token_id) for entry in logprobs]
    ends = list(accumulate((len(token.text) for token in tokens), initial=first_offset))
    return CompletionLogprobs(
        [token.name for token in tokens],
        [_finite(entry.logprob) for entry in logprobs],
        [_alternatives(entry, texts) for entry in logprobs],
        ends[:-1],
    )


def echoed_logprobs(
    text: str, first_token_id: int, logprobs: Sequence[TokenLogprobs], texts: TokenTexts
) -> CompletionLogprobs:
    """Of a prompt that stands before its answer; `logprobs` are of its tokens but the first."""
    first = texts.of(first_token_id)
    # A token that the tokenizer puts before a text is not in the text.
    second_offset = len(first.text) if text.startswith(first.text) else 0
    behind = completion_logprobs(logprobs, texts, second_offset)
    return CompletionLogprobs([first.name], [None], [None], [0]) + behind


def with_likeliest(logprobs: Sequence[TokenLogprobs], num_top: int) -> list[TokenLogprobs]:
    """The same, with at most `num_top` alternatives each."""
    return [dataclasses.replace(entry, top=entry.top[:num_top]) for entry in logprobs]


def prompt_logprobs(
    logprobs: Sequence[TokenLogprobs], num_top: int, texts: TokenTexts
) -> list[dict[int, PromptLogprob] | None]:
    """One entry for each token of a prompt, its own first; nothing is known of the first token."""
    return [None, *(_prompt_entry(entry, texts) for entry in with_likeliest(logprobs, num_top))]


def _prompt_entry(entry: TokenLogprobs, texts: TokenTexts) -> dict[int, PromptLogprob]:
    likeliest = ((*pair, rank) for rank, pair in enumerate(entry.top, start=1))
    return {
        token_id: PromptLogprob(_finite(logprob), rank, texts.of(token_id).text)
        for token_id, logprob, rank in [(entry.token_id, entry.logprob, entry.rank), *likeliest]
    }


def _chat_entry(entry: TokenLogprobs, texts: TokenTexts) -> TokenLogprob:
    chosen = texts.of(entry.token_id)
    top = [
        TopLogprob(texts.of(token_id).name, _finite(logprob), texts.of(token_id).bytes)
        for token_id, logprob in entry.top
    ]
    return TokenLogprob(chosen.name, _finite(entry.logprob), chosen.bytes, top)


def _alternatives(entry: TokenLogprobs, texts: TokenTexts) -> dict[str, float]:
    """The likeliest tokens, and always the chosen one."""
    likeliest = {texts.of(token_id).name: _finite(logprob) for token_id, logprob in entry.top}
    return likeliest | {texts.of(entry.token_id).name: _finite(entry.logprob)}


def _finite(logprob: float) -> float:
    return max(logprob, _LOWEST)
