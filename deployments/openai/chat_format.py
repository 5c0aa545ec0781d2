"""Answers in the schema of /v1/chat/completions."""

from collections.abc import Sequence
from typing import Any

from legato.deployments.openai.answer_format import AnswerHead, encode_json
from legato.deployments.openai.chat_message import finish_reason, part_delta, whole_message
from legato.deployments.openai.choice import ChoiceDelta
from legato.deployments.openai.generation import GenerationPlan
from legato.deployments.openai.logprobs import ChatLogprobs, chat_logprobs, prompt_logprobs
from legato.deployments.openai.token_texts import TokenTexts
from legato.deployments.openai.usage import Usage


class ChatFormat:
    """An AnswerFormat. Each choice opens with its role and ends with an empty delta."""

    def __init__(self, plan: GenerationPlan, texts: TokenTexts) -> None:
        kind = "chat.completion.chunk" if plan.options.stream else "chat.completion"
        self._head = AnswerHead("chatcmpl", kind, plan.model)
        self._chunk_head = self._head.chunk_head()
        self._texts = texts
        self._with_token_ids = plan.options.token_ids
        self._with_logprobs = plan.requests[0].params.logprobs is not None
        self._num_prompt_logprobs = plan.options.prompt_logprobs
        self._prompt_token_ids = plan.prompts[0].token_ids

    def opening(self, index: int, delta: ChoiceDelta) -> bytes:
        chunk = self._chunk(index, b'{"role":"assistant","content":""}', b"null")
        if self._with_token_ids:
            chunk += b',"prompt_token_ids":' + encode_json(self._prompt_token_ids)
        return chunk

    def pieces(self, index: int, delta: ChoiceDelta) -> Sequence[bytes]:
        if delta.parts:
            first, *others = map(part_delta, delta.parts)
            chunks = [self._chunk(index, other, b"null") for other in others]
            return [self._with_tokens(index, first, delta), *chunks]
        content = b'{"content":' + encode_json(delta.text) + b"}" if delta.text else b"{}"
        if self._with_token_ids or self._with_logprobs:
            return (self._with_tokens(index, content, delta),)
        return (self._chunk(index, content, b"null"),)

    def _with_tokens(self, index: int, content: bytes, delta: ChoiceDelta) -> bytes:
        logprobs = encode_json(self._logprobs(delta)) if self._with_logprobs else b"null"
        more = b',"token_ids":' + encode_json(delta.token_ids) if self._with_token_ids else b""
        return self._chunk(index, content, logprobs, more=more)

    def finish(self, index: int, delta: ChoiceDelta) -> bytes:
        more = b',"stop_reason":' + encode_json(delta.stop_reason)
        return self._chunk(index, b"{}", b"null", encode_json(finish_reason(delta)), more)

    def without_choices(self) -> bytes:
        return self._chunk_head + b"]"

    def whole(self, choices: Sequence[ChoiceDelta], usage: Usage) -> bytes:
        answers = [self._whole_choice(index, choice) for index, choice in enumerate(choices)]
        more: dict[str, Any] = {}
        if self._with_token_ids:
            more["prompt_token_ids"] = self._prompt_token_ids
        if (num_top := self._num_prompt_logprobs) is not None:
            first = choices[0].prompt_logprobs
            more["prompt_logprobs"] = prompt_logprobs(first, num_top, self._texts)
        return self._head.whole(answers, usage, **more)

    def _whole_choice(self, index: int, choice: ChoiceDelta) -> dict[str, Any]:
        answer = {
            "index": index,
            "message": whole_message(choice),
            "logprobs": self._logprobs(choice) if self._with_logprobs else None,
            "finish_reason": finish_reason(choice),
            "stop_reason": choice.stop_reason,
        }
        return answer | ({"token_ids": choice.token_ids} if self._with_token_ids else {})

    def _logprobs(self, delta: ChoiceDelta) -> ChatLogprobs:
        return chat_logprobs(delta.logprobs, self._texts)

    def _chunk(
        self,
        index: int,
        delta: bytes,
        logprobs: bytes,
        finish_reason: bytes = b"null",
        more: bytes = b"",
    ) -> bytes:
        return b'%b{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b%b}]' % (
            self._chunk_head,
            index,
            delta,
            logprobs,
            finish_reason,
            more,
        )
