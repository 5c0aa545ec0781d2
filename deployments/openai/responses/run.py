"""One response while it is generated, from its first event to the store.

              ┌─ open ── Created, (Queued,) InProgress
    run ──────┼─ each delta ── events of its items
              └─ the end ── Completed | Incomplete | Failed        kept before this is told

Whatever fails before it is open is raised, so that it still gets a status of its own.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from legato.deployments.openai.choice import ChoiceDelta
from legato.deployments.openai.errors import describe
from legato.deployments.openai.generation import Generation
from legato.deployments.openai.responses.draft import Draft
from legato.deployments.openai.responses.event_log import EventLog
from legato.deployments.openai.responses.events import (
    Completed,
    Created,
    Event,
    Failed,
    Incomplete,
    InProgress,
    Queued,
)
from legato.deployments.openai.responses.items import COMPLETED, INCOMPLETE, num_encoded_bytes
from legato.deployments.openai.responses.output import OutputBuilder
from legato.deployments.openai.responses.response_object import (
    FailureInfo,
    IncompleteDetails,
    ResponseObject,
    ResponseUsage,
    Status,
)
from legato.deployments.openai.responses.store import StoredResponse
from legato.deployments.openai.service import ApiService
from legato.engine.batch import FinishReason
from legato.engine.errors import LegatoError, RequestError

logger = logging.getLogger(__name__)

Publish = Callable[[Sequence[Event]], Awaitable[None]]


class ResponseRun:
    """Runs a draft once.

    Args:
        publish: is told of each event; None: nobody is, and the run never opens.
        log: is kept with the response.
    """

    def __init__(
        self,
        service: ApiService,
        draft: Draft,
        publish: Publish | None = None,
        log: EventLog | None = None,
    ) -> None:
        self.is_open = False
        self.input_items = draft.conversation.items
        self._response = draft.response
        self._draft = draft
        self._publish = publish
        self._log = log
        self._store = service.responses
        self._generation = Generation(service, draft.plan)
        texts = service.tokenizer.token_texts if draft.wants_logprobs else None
        self._output = OutputBuilder(texts, draft.wants_summary)
        self._finish_reason: FinishReason | None = None

    @property
    def response(self) -> ResponseObject:
        """As it stands now."""
        if self._response.status is not Status.IN_PROGRESS:
            return self._response
        return msgspec.structs.replace(self._response, output=self._output.items)

    async def open(self) -> None:
        """Tells that the response exists, if that was not told yet."""
        await self._tell(self._opening())

    async def run(self) -> None:
        """Generates to the end. What fails after `open` is an event.

        Raises:
            LegatoError: it failed before.
        """
        try:
            await self._generation.run(self._take)
        except Exception as error:
            if not self.is_open:
                raise
            await self._fail(error)
        else:
            await self._complete()

    def cancel(self) -> None:
        """Notes that the client wants no more; whoever runs it has stopped it."""
        self._output.finish(INCOMPLETE)
        self._end(Status.CANCELLED)

    async def _take(self, index: int, delta: ChoiceDelta) -> None:
        events = self._output.feed(delta)
        if delta.finish_reason is not None:
            self._finish_reason = delta.finish_reason
        await self._tell([*self._opening(), *events])

    def _opening(self) -> list[Event]:
        """The first events, once."""
        if self.is_open or self._publish is None:
            return []
        self.is_open = True
        events: list[Event] = [Created(self._response)]
        if self._response.status is Status.QUEUED:
            events.append(Queued(self._response))
            self._response = msgspec.structs.replace(self._response, status=Status.IN_PROGRESS)
        return [*events, InProgress(self._response)]

    async def _complete(self) -> None:
        if self._finish_reason is FinishReason.LENGTH:
            events = self._output.finish(INCOMPLETE)
            reason = IncompleteDetails("max_output_tokens")
            self._end(Status.INCOMPLETE, incomplete_details=reason)
            await self._tell([*events, Incomplete(self._response)])
        else:
            events = self._output.finish(COMPLETED)
            self._end(Status.COMPLETED, completed_at=int(time.time()))
            await self._tell([*events, Completed(self._response)])

    async def _fail(self, error: Exception) -> None:
        if not isinstance(error, LegatoError):
            logger.exception("unexpected error in a response")
        _, envelope = describe(error)
        code = "invalid_prompt" if isinstance(error, RequestError) else "server_error"
        events = self._output.finish(INCOMPLETE)
        self._end(Status.FAILED, error=FailureInfo(code, envelope.error.message))
        await self._tell([*events, Failed(self._response)])

    def _end(self, status: Status, **more: FailureInfo | IncompleteDetails | int) -> None:
        self._response = msgspec.structs.replace(
            self._response,
            status=status,
            output=self._output.items,
            usage=ResponseUsage.of(self._generation.usage()),
            **more,
        )
        if self._draft.is_kept:
            self._keep()

    def _keep(self) -> None:
        conversation = self._draft.conversation
        num_item_bytes = conversation.num_bytes + num_encoded_bytes(self._response.output)
        num_log_bytes = self._log.num_bytes if self._log else 0
        stored = StoredResponse(
            self._response,
            self.input_items,
            conversation.num_earlier_items,
            num_item_bytes,
            num_item_bytes + num_encoded_bytes([self._response]) + num_log_bytes,
            self._log,
        )
        self._store.put(self._draft.owner, stored)

    async def _tell(self, events: Sequence[Event]) -> None:
        if self._publish is not None and events:
            await self._publish(events)
