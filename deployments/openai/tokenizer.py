"""Texts and conversations to token ids and back, off the event loop.

A text that cannot fit the context is refused before it is tokenized: no token of the vocabulary
has more characters than the longest one, so length alone decides. Chat templates are the model's,
never the client's, and run in transformers' sandbox.
"""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerBase

from legato.deployments.openai.conversation import Turn
from legato.deployments.openai.message.reasoning import ThinkTags
from legato.deployments.openai.schema import ChatRequest, TokenizeRequest
from legato.deployments.openai.token_texts import TokenTexts
from legato.engine.bad_words import resolve_bad_words
from legato.engine.errors import ContextLengthError, InvalidRequestError, OverloadedError
from legato.engine.sampling_params import SamplingParams
from legato.engine.tokenizer import Tokenizer

T = TypeVar("T")

_MAX_ERROR_CHARS = 300
_RESERVED_KWARGS = frozenset(
    inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters
) | {"messages"}


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How a conversation is rendered."""

    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[dict[str, Any], ...] = ()  # that the model is shown
    documents: tuple[dict[str, Any], ...] = ()
    think_tags: ThinkTags | None = None
    closes_thought: bool = False  # where the template opens one
    prime: str = ""  # text behind the prompt, with which the answer has to begin

    @classmethod
    def of(cls, request: ChatRequest | TokenizeRequest, **more: Any) -> "ChatOptions":
        """A turn of the assistant is opened, unless its last one is to be continued.

        Raises:
            InvalidRequestError: both are asked for, or a reserved template variable is set.
        """
        opens_turn = request.add_generation_prompt
        return cls(
            not request.continue_final_message if opens_turn is None else opens_turn,
            request.continue_final_message,
            bool(request.add_special_tokens),
            _template_kwargs(request),
            **more,
        )

    def __post_init__(self) -> None:
        if self.continue_final_message and self.add_generation_prompt:
            raise InvalidRequestError(
                "cannot be combined with add_generation_prompt", "continue_final_message"
            )
        if reserved := self.template_kwargs.keys() & _RESERVED_KWARGS:
            raise InvalidRequestError(f"must not set {min(reserved)}", "chat_template_kwargs")


def _template_kwargs(request: ChatRequest | TokenizeRequest) -> dict[str, Any]:
    """Templates know efforts by one name, and whether to think at all by one of two."""
    effort = request.reasoning_effort if isinstance(request, ChatRequest) else None
    kwargs: dict[str, Any] = {} if effort is None else {"reasoning_effort": effort}
    if effort == "none":
        kwargs |= {"enable_thinking": False, "thinking": False}
    return kwargs | (request.chat_template_kwargs or {})


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """A conversation as the model gets it."""

    token_ids: tuple[int, ...]
    starts_thinking: bool  # it ends with the tag that opens a thought


class TokenizerService:
    """One model's tokenizer, with threads of its own.

    Args:
        max_model_len: in tokens; longer prompts are refused.
        timeout_s: for one text, waiting for a thread included.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_model_len: int,
        num_threads: int = 2,
        timeout_s: float = 30.0,
    ) -> None:
        tokenizer.backend.no_truncation()
        tokenizer.backend.no_padding()
        self.tokenizer = tokenizer
        self.token_texts = TokenTexts(tokenizer.hf)
        self._ids_as_texts = TokenTexts(tokenizer.hf, by_id=True)
        added = tokenizer.hf.added_tokens_decoder
        self.added_tokens = {token.content: token_id for token_id, token in added.items()}
        self._special_tokens = frozenset(token.content for token in added.values() if token.special)
        self._timeout_s = timeout_s
        self._max_model_len = max_model_len
        self._max_token_chars = max((len(token) for token in tokenizer.hf.get_vocab()), default=1)
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="tokenizer")

    async def encode(self, text: str, add_special_tokens: bool, param: str) -> tuple[int, ...]:
        """Raises ContextLengthError for a text that is too long by its length alone."""
        self._check_length(len(text), param)
        return await self._off_loop(lambda: self._encode(text, add_special_tokens))

    def texts_for_logprobs(self, as_ids: bool) -> TokenTexts:
        """What tokens are called in log probabilities."""
        return self._ids_as_texts if as_ids else self.token_texts

    def has_special(self, texts: Sequence[str]) -> bool:
        """Whether one of these is a special token, which plain decoding leaves out."""
        return not self._special_tokens.isdisjoint(texts)

    async def encode_chat(self, conversation: Sequence[Turn], options: ChatOptions) -> RenderedChat:
        """Renders the model's chat template and tokenizes what it gives.

        Raises:
            InvalidRequestError: the template refuses the conversation.
            ContextLengthError: the conversation is too long by its length alone.
            OverloadedError: the time limit has passed.
        """
        self._check_length(sum(len(turn["content"] or "") for turn in conversation), "messages")
        if reserved := options.template_kwargs.keys() & self.tokenizer.hf.special_tokens_map.keys():
            raise InvalidRequestError(f"must not set {min(reserved)}", "chat_template_kwargs")
        return await self._off_loop(lambda: self._encode_chat(conversation, options))

    async def resolve_bad_words(self, params: SamplingParams, vocab_size: int) -> SamplingParams:
        """The same, with its bad words as tokens of a model that has `vocab_size` of them."""
        encode = self.tokenizer.encode_plain
        return await self._off_loop(lambda: resolve_bad_words(params, encode, vocab_size))

    async def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        ids = list(token_ids)
        return await self._off_loop(lambda: self.tokenizer.decode(ids, skip_special_tokens))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check_length(self, num_chars: int, param: str) -> None:
        if num_chars > self._max_model_len * self._max_token_chars:
            raise ContextLengthError(
                f"{num_chars} characters are more than the model's context of "
                f"{self._max_model_len} tokens can hold",
                param,
            )

    def _encode(self, text: str, add_special_tokens: bool) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens))

    def _encode_chat(self, conversation: Sequence[Turn], options: ChatOptions) -> RenderedChat:
        text = self._render(conversation, options)
        self._check_length(len(text), "messages")
        tags = options.think_tags
        starts_thinking = tags is not None and text.rstrip().endswith(tags.start)
        if tags is not None and starts_thinking and options.closes_thought:
            text, starts_thinking = f"{text.rstrip()}\n\n{tags.end}\n\n", False
        token_ids = self._encode(text + options.prime, options.add_special_tokens)
        return RenderedChat(token_ids, starts_thinking)

    def _render(self, conversation: Sequence[Turn], options: ChatOptions) -> str:
        template = self.tokenizer.hf.chat_template
        if template is None:
            raise InvalidRequestError(
                "this model has no chat template; use /v1/completions", "messages"
            )
        # Few templates know OpenAI's newer name of the system role; most would drop its message.
        rename = {"developer": "system"} if "developer" not in str(template) else {}
        turns = [turn | {"role": rename.get(turn["role"], turn["role"])} for turn in conversation]
        try:
            text = self.tokenizer.hf.apply_chat_template(
                turns,
                tools=list(options.tools) or None,
                documents=list(options.documents) or None,
                tokenize=False,
                add_generation_prompt=options.add_generation_prompt,
                continue_final_message=options.continue_final_message,
                **options.template_kwargs,
            )
        except Exception as error:  # a template may raise anything over data that it never met
            reason = (str(error) or type(error).__name__).splitlines()[0][:_MAX_ERROR_CHARS]
            raise InvalidRequestError(
                f"the chat template refused them: {reason}", "messages"
            ) from error
        return str(text)

    async def _off_loop(self, work: Callable[[], T]) -> T:
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.wait_for(running, self._timeout_s)
        except TimeoutError:
            raise OverloadedError(
                f"the prompt was not tokenized within {self._timeout_s:g} s"
            ) from None
