"""One validated request while it runs: its sequences, their events, what is counted on the way.

    plan ──> Generation.run(emit) ─┬─ follow sequence 0: backend events -> Choice -> emit(0, delta)
                                   ├─ follow sequence 1: ...                       (a task each)
                                   └─ ...

Sequences are in the order of OpenAI's choices: all of the first prompt's, then the second's. When
one ends by a stop string, when one fails, or when the run is cancelled, iterators are closed, which
cancels in the cluster. The module knows no schema: what is emitted is up to `emit`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from legato.cluster.generation import GenerationEvent, GenerationRequest
from legato.deployments.openai.choice import Choice, ChoiceDelta
from legato.deployments.openai.message.message_parser import MessageReading
from legato.deployments.openai.parsed_choice import ParsedChoice
from legato.deployments.openai.rate_limits import KeyBudget
from legato.deployments.openai.sequence_record import SequenceRecord
from legato.deployments.openai.service import ApiService
from legato.deployments.openai.usage import CompletionTokensDetails, PromptTokensDetails, Usage
from legato.engine.batch import FinishReason
from legato.engine.errors import EngineError

Emit = Callable[[int, ChoiceDelta], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Prompt:
    token_ids: tuple[int, ...]
    text: str = ""  # put before the answer, if the client asked for an echo


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What the answer holds beside its text."""

    stream: bool = False
    include_usage: bool = False  # of a stream, as its last chunk
    continuous_usage: bool = False  # of a stream, on each chunk
    token_ids: bool = False
    timeline: bool = False
    echo: bool = False
    prompt_alone: bool = False  # and no answer: one token is generated in vain
    prompt_logprobs: int | None = None  # likeliest tokens at each position; None: not told
    tokens_as_ids: bool = False  # in log probabilities


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """A request that passed every check at the door. Choice i answers prompt i // n."""

    model: str
    prompts: tuple[Prompt, ...]
    requests: tuple[GenerationRequest, ...]  # in the order of the choices
    options: OutputOptions
    arrived_s: float  # on the monotonic clock
    reading: MessageReading | None = None  # of the answers' text; None: it is what it is
    budget: KeyBudget | None = None  # that pays for the answers; the prompts are paid for
    tenant: bytes = b""  # whose request it is: see auth.tenant

    @property
    def num_answers(self) -> int:
        """To each prompt: the request's `n`."""
        return len(self.requests) // len(self.prompts)

    def prompt_of(self, index: int) -> Prompt:
        return self.prompts[index // self.num_answers]


class Generation:
    """Runs a plan once, and knows at any time what it has used."""

    def __init__(self, service: ApiService, plan: GenerationPlan) -> None:
        self._service = service
        self._plan = plan
        self._records: list[SequenceRecord] = []
        tokenizer, all_params = service.tokenizer.tokenizer, [one.params for one in plan.requests]
        self._parsed: list[ParsedChoice] = []
        if (reading := plan.reading) is not None:
            self._parsed = [ParsedChoice(tokenizer, params, reading) for params in all_params]
        self._choices: Sequence[Choice | ParsedChoice] = self._parsed or [
            Choice(tokenizer, params) for params in all_params
        ]

    async def run(self, emit: Emit) -> None:
        """Follows all sequences to their ends; `emit` is awaited for each delta.

        Raises:
            RequestError, CapacityError, EngineError: a sequence failed; the others are cancelled.
        """
        requests = self._plan.requests
        self._service.backend.check_admission(
            len(requests), sum(len(request.prompt_token_ids) for request in requests)
        )
        admission_s = time.monotonic() - self._plan.arrived_s
        self._records = [
            SequenceRecord(
                self._service.metrics,
                self._plan.arrived_s,
                admission_s,
                len(request.prompt_token_ids),
            )
            for request in requests
        ]
        self._service.recent.add(self._plan.tenant, self._records)
        if len(requests) == 1:
            await self._follow(0, emit)
        else:
            await self._follow_all(emit)

    def usage(self, with_timeline: bool = False) -> Usage:
        """Tokens so far. A prompt counts once, whatever `n` is; the timeline is choice 0's."""
        num_prompt_tokens = sum(len(prompt.token_ids) for prompt in self._plan.prompts)
        num_tokens = sum(choice.num_tokens for choice in self._choices)
        first_answers = self._records[:: self._plan.num_answers]
        return Usage(
            num_prompt_tokens,
            num_tokens,
            num_prompt_tokens + num_tokens,
            PromptTokensDetails(sum(record.num_cached_tokens for record in first_answers)),
            self._reasoning_tokens(),
            self._records[0].timeline if with_timeline else None,
        )

    def _reasoning_tokens(self) -> CompletionTokensDetails | None:
        if self._plan.reading is None or self._plan.reading.think_tags is None:
            return None
        return CompletionTokensDetails(sum(one.num_reasoning_tokens for one in self._parsed))

    async def _follow_all(self, emit: Emit) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(len(self._records)):
                    group.create_task(self._follow(index, emit))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    def _delta(self, index: int, event: GenerationEvent) -> ChoiceDelta:
        if self._plan.options.prompt_alone:
            about_prompt = event.prompt_logprobs, event.embedding
            return ChoiceDelta("", (), (), FinishReason.LENGTH, None, None, False, *about_prompt)
        delta = self._choices[index].feed(event)
        if event.prompt_logprobs:
            return msgspec.structs.replace(delta, prompt_logprobs=event.prompt_logprobs)
        return delta

    async def _follow(self, index: int, emit: Emit) -> None:
        request, record = self._plan.requests[index], self._records[index]
        budget = self._plan.budget
        finish_reason: FinishReason | None = None
        end = "abort"
        try:
            async with aclosing(self._service.backend.generate(request)) as events:
                async for event in events:
                    record.take(event)
                    if budget is not None:
                        budget.spend(len(event.token_ids))
                    delta = self._delta(index, event)
                    finish_reason = delta.finish_reason
                    await emit(index, delta)
                    if finish_reason is not None:
                        break
            if finish_reason is None:
                raise EngineError("the answer broke off before its end")
            end = finish_reason.value
        except Exception:
            end = "error"
            raise
        finally:
            record.end(end)
