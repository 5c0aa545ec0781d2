"""Answers in the schema of /v1/completions."""

from collections.abc import Sequence
from typing import Any

from legato.deployments.openai.answer_format import AnswerHead, encode_json
from legato.deployments.openai.choice import ChoiceDelta
from legato.deployments.openai.generation import GenerationPlan
from legato.deployments.openai.logprobs import (
    CompletionLogprobs,
    completion_logprobs,
    echoed_logprobs,
    prompt_logprobs,
    with_likeliest,
)
from legato.deployments.openai.token_texts import TokenTexts
from legato.deployments.openai.usage import Usage
from legato.engine.batch import TokenLogprobs


class CompletionFormat:
    """An AnswerFormat. A choice's text starts with the prompt's, if an echo was asked for."""

    def __init__(self, plan: GenerationPlan, texts: TokenTexts) -> None:
        self._head = AnswerHead("cmpl", "text_completion", plan.model)
        self._chunk_head = self._head.chunk_head()
        self._plan = plan
        self._texts = texts
        self._with_token_ids = plan.options.token_ids
        self._num_top = plan.requests[0].params.logprobs
        self._offsets: dict[int, int] = {}  # of the next token in its choice's text

    def opening(self, index: int, delta: ChoiceDelta) -> bytes | None:
        prompt = self._plan.prompt_of(index)
        if not self._plan.options.echo and not self._with_token_ids:
            return None
        logprobs, more = b"null", b""
        if self._plan.options.echo and self._num_top is not None:
            logprobs = encode_json(self._echoed(index, delta.prompt_logprobs))
        if self._with_token_ids:
            more = b',"token_ids":[],"prompt_token_ids":' + encode_json(prompt.token_ids)
        return self._chunk(index, prompt.text, logprobs, more=more)

    def pieces(self, index: int, delta: ChoiceDelta) -> tuple[bytes]:
        logprobs = b"null" if self._num_top is None else encode_json(self._logprobs(index, delta))
        if not self._with_token_ids:
            return (self._chunk(index, delta.text, logprobs),)
        more = b',"token_ids":' + encode_json(delta.token_ids)
        return (self._chunk(index, delta.text, logprobs, more=more),)

    def finish(self, index: int, delta: ChoiceDelta) -> bytes:
        more = b',"stop_reason":' + encode_json(delta.stop_reason)
        return self._chunk(index, "", b"null", encode_json(delta.finish_reason), more)

    def without_choices(self) -> bytes:
        return self._chunk_head + b"]"

    def whole(self, choices: Sequence[ChoiceDelta], usage: Usage) -> bytes:
        n = self._plan.num_answers
        answers = [
            self._whole_choice(index, choice, choices[index // n * n].prompt_logprobs)
            for index, choice in enumerate(choices)
        ]
        return self._head.whole(answers, usage)

    def _whole_choice(
        self, index: int, choice: ChoiceDelta, of_prompt: Sequence[TokenLogprobs]
    ) -> dict[str, Any]:
        prompt = self._plan.prompt_of(index)
        answer = {
            "index": index,
            "text": prompt.text + choice.text,
            "logprobs": self._whole_logprobs(index, choice, of_prompt),
            "finish_reason": choice.finish_reason,
            "stop_reason": choice.stop_reason,
        }
        if self._with_token_ids:
            answer |= {"token_ids": choice.token_ids, "prompt_token_ids": prompt.token_ids}
        if (num_top := self._plan.options.prompt_logprobs) is not None:
            answer["prompt_logprobs"] = prompt_logprobs(of_prompt, num_top, self._texts)
        return answer

    def _whole_logprobs(
        self, index: int, choice: ChoiceDelta, of_prompt: Sequence[TokenLogprobs]
    ) -> CompletionLogprobs | None:
        if self._num_top is None:
            return None
        logprobs = self._logprobs(index, choice)
        return self._echoed(index, of_prompt) + logprobs if self._plan.options.echo else logprobs

    def _echoed(self, index: int, of_prompt: Sequence[TokenLogprobs]) -> CompletionLogprobs:
        prompt = self._plan.prompt_of(index)
        asked_for = with_likeliest(of_prompt, self._num_top or 0)
        return echoed_logprobs(prompt.text, prompt.token_ids[0], asked_for, self._texts)

    def _logprobs(self, index: int, delta: ChoiceDelta) -> CompletionLogprobs:
        offset = self._offsets.get(index, len(self._plan.prompt_of(index).text))
        logprobs = completion_logprobs(delta.logprobs, self._texts, offset)
        self._offsets[index] = offset + sum(
            len(self._texts.of(entry.token_id).text) for entry in delta.logprobs
        )
        return logprobs

    def _chunk(
        self,
        index: int,
        text: str,
        logprobs: bytes,
        finish_reason: bytes = b"null",
        more: bytes = b"",
    ) -> bytes:
        return b'%b{"index":%d,"text":%b,"logprobs":%b,"finish_reason":%b%b}]' % (
            self._chunk_head,
            index,
            encode_json(text),
            logprobs,
            finish_reason,
            more,
        )
