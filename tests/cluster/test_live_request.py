"""A request on a worker, told to the router that sent it."""

import asyncio

import msgspec
import pytest

from legato.cluster.channel import Stream
from legato.cluster.live_request import LiveRequest, failure_of
from legato.cluster.wire import Failed, FromWorker, Pong, Submit, ToWorker
from legato.engine.batch import SequenceRequest
from legato.engine.errors import (
    ContextLengthError,
    EngineError,
    InvalidRequestError,
    LegatoError,
    OverloadedError,
    WorkerLostError,
)
from legato.engine.sampling_params import SamplingParams

PARAMS = SamplingParams(temperature=0, max_tokens=3)
SUBMIT = Submit(4, [5, 6], [7], PARAMS, sampling_seed=9, priority=2, salt=b"s")


async def test_the_engine_gets_what_the_router_submitted() -> None:
    never: asyncio.Queue[bytes] = asyncio.Queue()
    stream: Stream[ToWorker] = Stream(never.get, never.put, ToWorker, Pong())
    live = LiveRequest(stream, SUBMIT, on_over=lambda one: None)
    assert live.sequence_request == SequenceRequest((5, 6), PARAMS, 9, (7,), 2, b"s")


async def test_a_failure_is_told_to_the_router_and_ends_the_request() -> None:
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    never: asyncio.Queue[bytes] = asyncio.Queue()
    stream: Stream[ToWorker] = Stream(never.get, frames.put, ToWorker, Pong())
    over: list[LiveRequest] = []
    live = LiveRequest(stream, SUBMIT, over.append)
    live.fail(OverloadedError("full"))
    assert live.is_over
    assert over == [live]
    running = asyncio.create_task(stream.run(lambda message: None))
    frame = await asyncio.wait_for(frames.get(), 5)
    assert Failed(4, "capacity", "full") in msgspec.msgpack.decode(frame, type=list[FromWorker])
    stream.close()
    await running


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InvalidRequestError("no", "top_p"), Failed(1, "client", "no", "top_p", None)),
        (
            ContextLengthError("too long"),
            Failed(1, "client", "too long", None, "context_length_exceeded"),
        ),
        (OverloadedError("full"), Failed(1, "capacity", "full")),
        (WorkerLostError("gone"), Failed(1, "lost", "gone")),
        (EngineError("broken"), Failed(1, "lost", "broken")),
        (LegatoError("odd"), Failed(1, "lost", "odd")),
        (KeyError(), Failed(1, "lost", "KeyError")),
    ],
)
def test_errors_keep_their_kind_on_the_wire(error: Exception, message: Failed) -> None:
    assert failure_of(1, error) == message
