"""Who runs in the background, and how it ends."""

import asyncio

import pytest

from legato.deployments.openai.responses.items import Item
from legato.deployments.openai.responses.live import LiveResponses
from legato.deployments.openai.responses.request import ResponsesRequest
from legato.deployments.openai.responses.response_object import ResponseObject
from legato.engine.errors import OverloadedError
from legato.engine.sampling_params import SamplingParams

ANNA, BERT = b"anna", b"bert"


class Run:
    def __init__(self) -> None:
        body = ResponsesRequest(background=True)
        self.response = ResponseObject.of(body, "model", SamplingParams())
        self.input_items: tuple[Item, ...] = ()
        self.may_end = asyncio.Event()
        self.was_cancelled = False

    async def work(self) -> None:
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise


async def test_a_run_is_live_until_it_ends_and_its_owners_alone() -> None:
    live, run = LiveResponses(), Run()
    live.start(ANNA, run, None, run.work())
    found = live.get(ANNA, run.response.id)
    assert found is not None and found.run is run
    assert live.get(BERT, run.response.id) is None
    run.may_end.set()
    await found.task
    await asyncio.sleep(0)
    assert live.get(ANNA, run.response.id) is None
    await live.cancel(ANNA, run.response.id)
    assert not run.was_cancelled


async def test_a_cancelled_run_has_ended() -> None:
    live, run = LiveResponses(), Run()
    live.start(ANNA, run, None, run.work())
    await asyncio.sleep(0)
    await live.cancel(BERT, run.response.id)
    assert not run.was_cancelled
    await live.cancel(ANNA, run.response.id)
    assert run.was_cancelled and live.get(ANNA, run.response.id) is None


async def test_an_owner_has_so_many_at_a_time_and_no_more() -> None:
    live, run = LiveResponses(max_live=1), Run()
    live.check_room(ANNA)
    live.start(ANNA, run, None, run.work())
    live.check_room(BERT)
    with pytest.raises(OverloadedError):
        live.check_room(ANNA)
    await live.cancel(ANNA, run.response.id)
    live.check_room(ANNA)
