"""Streams are read whatever pieces the network has made of them."""

import json

import pytest

from legato.tests.benchmarks.load.event_stream import Reads, read_answer

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(text: str, finish_reason: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "text": text, "finish_reason": finish_reason, **more}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


DONE = b"data: [DONE]\n\n"
PARTS = (HEAD, chunk(event(" a")), chunk(event(" b")), chunk(event(" c") + event("", "length")))
END = chunk(DONE) + b"0\r\n\r\n"


def test_each_token_has_the_time_of_the_read_that_brought_it() -> None:
    answer = read_answer([(float(at), part) for at, part in enumerate((*PARTS, END))])
    assert answer.status == 200
    assert answer.texts == [" a", " b", " c"]
    assert answer.token_times_s == [1.0, 2.0, 3.0]
    assert answer.finish_reason == "length"
    assert answer.is_complete
    assert answer.error is None


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
def test_reads_may_end_anywhere(size: int) -> None:
    raw = b"".join(PARTS) + END
    reads: Reads = [(float(i), raw[i : i + size]) for i in range(0, len(raw), size)]
    answer = read_answer(reads)
    assert answer.texts == [" a", " b", " c"]
    assert answer.is_complete
    # A token is there with the last byte of its chunk, in whichever read that is.
    ends = [sum(map(len, PARTS[: i + 2])) - 3 for i in range(3)]
    assert answer.token_times_s == [float(end // size * size) for end in ends]


def test_a_body_without_chunks_is_read_too() -> None:
    head = HEAD.replace(b"Transfer-Encoding: chunked\r\n", b"")
    answer = read_answer([(1.0, head + event(" a")), (2.0, event(" b")), (3.0, DONE)])
    assert answer.texts == [" a", " b"]
    assert answer.token_times_s == [1.0, 2.0]
    assert answer.is_complete


def test_a_stream_that_breaks_off_is_not_complete() -> None:
    answer = read_answer([(1.0, PARTS[0]), (2.0, PARTS[1] + PARTS[2][:-9])])
    assert answer.texts == [" a"]
    assert not answer.is_complete


def test_an_error_within_the_stream_is_told() -> None:
    failure = b'data: {"error": {"message": "the worker is lost", "code": 500}}\n\n'
    answer = read_answer([(1.0, HEAD + chunk(event(" a")) + chunk(failure + DONE))])
    assert answer.error == "the worker is lost"


def test_a_refusal_is_told_with_its_status() -> None:
    answer = read_answer([(1.0, b'HTTP/1.1 503 x\r\ncontent-length: 4\r\n\r\n"no"')])
    assert (answer.status, answer.error) == (503, '"no"')


def test_silence_is_no_answer() -> None:
    assert read_answer([]).status == 0
    assert read_answer([(1.0, b"HTTP/1.1 2")]).error == "no answer"


def test_token_ids_times_and_comments_are_taken_for_what_they_are() -> None:
    usage = b'data: {"choices": [], "usage": {"timeline": {"transfer": 0.5}}}\n\n'
    body = event("", token_ids=[], prompt_token_ids=[9]) + event(" a", token_ids=[4, 5])
    answer = read_answer([(1.0, HEAD + chunk(b": keep-alive\n\n" + body) + chunk(usage + DONE))])
    assert answer.texts == [" a"]
    assert answer.token_ids == [4, 5]
    assert answer.timeline == {"transfer": 0.5}
