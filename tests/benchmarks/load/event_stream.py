"""A streamed answer read after the fact: what came, and when.

    reads      (time, bytes) (time, bytes) ...          as the socket gave them
    chunks     size CRLF bytes CRLF ...                 HTTP/1.1, or a plain body
    events     data: {...} LF LF                        each with the time of the read that ended it

Nothing is parsed while others still stream: the client's work must not show in their times. It
knows the fields of a streamed completion that a load test needs, and no others.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import msgspec

_HEAD_END = b"\r\n\r\n"
_EVENT_END = b"\n\n"
_DATA = b"data: "
_DONE = b"[DONE]"

Reads = Sequence[tuple[float, bytes]]


class _Choice(msgspec.Struct):
    text: str = ""
    finish_reason: str | None = None
    token_ids: list[int] | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int = 0
    timeline: dict[str, float] | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: dict[str, object] | None = None


_decode_event = msgspec.json.Decoder(_Event).decode


@dataclass(slots=True)
class StreamedAnswer:
    """What one request got. Times are those of the reads."""

    status: int  # 0: no answer at all
    texts: list[str] = field(default_factory=list)  # of each event that has one
    token_times_s: list[float] = field(default_factory=list)  # of the same events
    token_ids: list[int] = field(default_factory=list)  # if they were asked for
    finish_reason: str | None = None
    timeline: dict[str, float] = field(default_factory=dict)  # if it was asked for
    error: str | None = None
    is_complete: bool = False  # [DONE] was seen


def read_answer(reads: Reads) -> StreamedAnswer:
    """Parses all that came on one connection."""
    raw = b"".join(data for _, data in reads)
    head_size = raw.find(_HEAD_END) + len(_HEAD_END)
    if head_size < len(_HEAD_END):
        return StreamedAnswer(0, error="no answer")
    head = raw[:head_size].lower()
    answer = StreamedAnswer(int(head.split(b" ", 2)[1]))
    if answer.status != 200:
        answer.error = raw[head_size : head_size + 300].decode(errors="replace")
        return answer
    ends = list(accumulate(len(data) for _, data in reads))
    is_chunked = b"transfer-encoding: chunked" in head
    parts = _chunks(raw, head_size) if is_chunked else _plain(reads, ends, head_size)
    waiting = b""
    for end, part in parts:
        *events, waiting = (waiting + part).split(_EVENT_END)
        at_s = reads[bisect_left(ends, end)][0]
        for event in events:
            _take(answer, event, at_s)
    return answer


def _chunks(raw: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """(end in `raw`, data) of each whole chunk."""
    while (line_end := raw.find(b"\r\n", start)) >= 0:
        size = int(raw[start:line_end].partition(b";")[0], 16)
        end = line_end + 2 + size
        if size == 0 or end > len(raw):
            return
        yield end, raw[line_end + 2 : end]
        start = end + 2


def _plain(reads: Reads, ends: list[int], start: int) -> Iterator[tuple[int, bytes]]:
    for end, (_, data) in zip(ends, reads, strict=True):
        if end > start:
            yield end, data[max(0, start - (end - len(data))) :]


def _take(answer: StreamedAnswer, event: bytes, at_s: float) -> None:
    if not event.startswith(_DATA):
        return  # a comment that keeps the connection alive
    payload = event[len(_DATA) :]
    if payload == _DONE:
        answer.is_complete = True
        return
    message = _decode_event(payload)
    if message.error is not None:
        answer.error = str(message.error.get("message"))
    if message.usage is not None and message.usage.timeline is not None:
        answer.timeline = message.usage.timeline
    for choice in message.choices:
        if choice.text:
            answer.texts.append(choice.text)
            answer.token_times_s.append(at_s)
        answer.token_ids += choice.token_ids or []
        answer.finish_reason = choice.finish_reason or answer.finish_reason
