"""Every message survives the wire, and nothing else is taken for one."""

from typing import Any, get_args

import msgspec
import pytest

from legato.cluster.transfer.transport import PoolDescriptor
from legato.cluster.wire import (
    Abandon,
    Cancel,
    Commit,
    CommitReply,
    Deny,
    Failed,
    FromWorker,
    Grant,
    HandedOver,
    Heartbeat,
    Hello,
    Message,
    Peer,
    Ping,
    Pong,
    Revoke,
    StageTimes,
    Stopped,
    Submit,
    ToDecode,
    Tokens,
    ToPrefill,
    ToWorker,
)
from legato.engine.batch import FinishReason, TokenLogprobs
from legato.engine.sampling_params import SamplingParams
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind
from legato.tests.cluster.reports import make_report

TRANSFER, HANDLE = b"t" * 16, b"h" * 16
POOL = PoolDescriptor(
    worker="d", host="h", pid=1, shape=(10, 2, 2, 1, 16, 8), dtype="float32", kind="private"
)
PEER = Peer("p", "127.0.0.1:1", TRANSFER)
PARAMS = SamplingParams(temperature=0.5, max_tokens=3, logit_bias={5: -1.0}, stop=(".",))
FORM = StructuredOutput(StructuredOutputKind.REGEX, "[a-z]é*")
FORMED = SamplingParams(structured_output=FORM)
LOGPROBS = TokenLogprobs(5, -0.5, 1, ((5, -0.5), (6, -1.5)))
REPORT = make_report(step_time_s=0.01, counters={"prompt_tokens": 7})
EXAMPLES: dict[Any, list[Message]] = {
    ToWorker: [
        Submit(1, [5, 6], [7], PARAMS, 9, 0, b"salt", prefill_at=PEER),
        Submit(2, [5, 6], [], PARAMS, 9, 0, b"", decode_at=PEER),
        Submit(3, [5, 6], [7, 8], FORMED, 9, 0, b""),
        Cancel(1),
        Ping(),
    ],
    FromWorker: [
        Tokens(
            1, 0, [5], [LOGPROBS], None, None, StageTimes(0.1, 0.2), [LOGPROBS, LOGPROBS], b"1234"
        ),
        Tokens(1, 1, [6], [], FinishReason.STOP, 6, None),
        HandedOver(1, StageTimes(transfer_bytes=4096)),
        Failed(1, "client", "too long", "messages", "context_length_exceeded"),
        REPORT,
        Pong(),
    ],
    ToPrefill: [
        Hello(POOL),
        Grant(TRANSFER, HANDLE, 1, [4, 5], [2**63, 1]),
        Deny(TRANSFER),
        Revoke(TRANSFER, HANDLE),
        CommitReply(HANDLE, taken=True, recomputes=False),
        Heartbeat(),
    ],
    ToDecode: [
        Commit(TRANSFER, HANDLE, [4, 5], [1, 1], [2**64 - 1, 0], 40, [7]),
        Abandon(TRANSFER, HANDLE),
        Stopped(HANDLE),
        Heartbeat(),
    ],
}
DIRECTIONS = pytest.mark.parametrize("direction", EXAMPLES, ids=lambda union: "")


@DIRECTIONS
def test_every_message_of_a_direction_arrives_as_it_was_sent(direction: Any) -> None:
    messages = EXAMPLES[direction]
    assert {type(message) for message in messages} == set(get_args(direction))
    frame = msgspec.msgpack.encode(messages)
    assert msgspec.msgpack.decode(frame, type=list[direction]) == messages


@DIRECTIONS
def test_a_message_of_another_direction_is_refused(direction: Any) -> None:
    known = get_args(direction)
    strangers = [
        message
        for messages in EXAMPLES.values()
        for message in messages
        if type(message) not in known
    ]
    assert strangers
    for stranger in strangers:
        with pytest.raises(msgspec.ValidationError):
            msgspec.msgpack.decode(msgspec.msgpack.encode([stranger]), type=list[direction])


@pytest.mark.parametrize(
    "body",
    [
        ["Cancel"],
        ["Cancel", "one"],
        ["Cancel", None],
        ["Unheard", 1],
        [1],
        {"type": "Cancel", "request": 1},
        ["Submit", 1, ["x"], [], {}, 0, 0, b"", None, None],
    ],
)
def test_a_message_of_the_wrong_shape_is_refused(body: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode([body]), type=list[ToWorker])


def test_a_token_costs_few_bytes() -> None:
    """A router reads hundreds of thousands of these every second."""
    tokens = Tokens(100_000, 1000, [50_000], [], None, None, None)
    assert len(msgspec.msgpack.encode(tokens)) < 32
