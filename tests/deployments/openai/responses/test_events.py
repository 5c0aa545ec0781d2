"""How events are written."""

import json

from legato.deployments.openai.logprobs import TokenLogprob, TopLogprob
from legato.deployments.openai.responses.events import (
    ArgumentsDelta,
    EventWriter,
    TextDelta,
    slim_logprobs,
)


def test_events_are_numbered_from_write_to_write() -> None:
    writer = EventWriter()
    events = [TextDelta("msg_1", 0, 'a"\n'), ArgumentsDelta("fc_1", 1, "{")]
    written = writer.encode(events) + writer.encode(events[:1])
    blocks = written.decode().split("\n\n")
    assert blocks.pop() == ""
    named = [block.split("\n") for block in blocks]
    data = [json.loads(line.removeprefix("data: ")) for _, line in named]
    assert [line for line, _ in named] == [f"event: {event['type']}" for event in data]
    assert [event["sequence_number"] for event in data] == [0, 1, 2]
    assert data[0]["delta"] == 'a"\n' and data[1]["output_index"] == 1


def test_log_probabilities_in_events_have_no_bytes() -> None:
    entry = TokenLogprob("a", -1.0, (97,), [TopLogprob("b", -2.0, (98,))])
    [slim] = slim_logprobs([entry])
    assert (slim.token, slim.logprob) == ("a", -1.0)
    assert [(top.token, top.logprob) for top in slim.top_logprobs] == [("b", -2.0)]
    assert slim_logprobs(()) == ()
