"""Generating with no client attached: a run, and its events in a log for those who read along."""

import asyncio
from collections.abc import Sequence

from legato.deployments.openai.responses.draft import Draft
from legato.deployments.openai.responses.event_log import EventLog
from legato.deployments.openai.responses.events import Event, EventWriter
from legato.deployments.openai.responses.response_object import ResponseObject
from legato.deployments.openai.responses.run import ResponseRun
from legato.deployments.openai.service import ApiService


def start_in_background(
    service: ApiService, draft: Draft
) -> tuple[ResponseObject, EventLog | None]:
    """Starts a response that goes on whoever leaves; gives it as it is now, and its events.

    Raises:
        CapacityError: there is no room for it.
    """
    service.live_responses.check_room(draft.owner)
    [request] = draft.plan.requests
    service.backend.check_admission(1, len(request.prompt_token_ids))
    background = _Background(service, draft)
    service.live_responses.start(draft.owner, background.run, background.log, background.work())
    return background.run.response, background.log


class _Background:
    def __init__(self, service: ApiService, draft: Draft) -> None:
        self.log = EventLog() if draft.plan.options.stream else None
        self.run = ResponseRun(service, draft, self._publish, self.log)
        self._writer = EventWriter()

    async def work(self) -> None:
        try:
            await self.run.open()
            await self.run.run()
        except asyncio.CancelledError:
            self.run.cancel()
            raise
        finally:
            if self.log is not None:
                self.log.close()

    async def _publish(self, events: Sequence[Event]) -> None:
        if self.log is not None:
            for event in events:
                self.log.append(self._writer.encode([event]))
