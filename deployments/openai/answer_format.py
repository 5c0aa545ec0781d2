"""What the two schemas of an answer have in common: the head of each chunk, and the interface.

A chunk is `head + choice + tail`. The head never changes within a stream and is encoded once; the
tail (usage or not) is the stream's business. So a token costs the encoding of its text, and joins.
"""

import secrets
import time
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from legato.deployments.openai.choice import ChoiceDelta
from legato.deployments.openai.usage import Usage

encode_json = msgspec.json.Encoder().encode


class AnswerFormat(Protocol):
    """One request's answer as bytes; chunks lack their tail, which closes the JSON object."""

    def opening(self, index: int, delta: ChoiceDelta) -> bytes | None:
        """The chunk before a choice's first delta, if the schema has one."""

    def pieces(self, index: int, delta: ChoiceDelta) -> Sequence[bytes]:
        """The chunks with what a delta adds, one as a rule."""

    def finish(self, index: int, delta: ChoiceDelta) -> bytes:
        """A choice's last chunk: why it ended, and no text."""

    def without_choices(self) -> bytes:
        """The chunk that carries usage alone."""

    def whole(self, choices: Sequence[ChoiceDelta], usage: Usage) -> bytes:
        """The answer that is not streamed."""


class AnswerHead:
    """The fields that all chunks of an answer share."""

    def __init__(self, id_prefix: str, kind: str, model: str) -> None:
        self._fields = {
            "id": f"{id_prefix}-{secrets.token_hex(16)}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }

    def chunk_head(self) -> bytes:
        """`data: {"id":...,"choices":[`"""
        return b"data: " + encode_json(self._fields)[:-1] + b',"choices":['

    def whole(self, choices: list[dict[str, Any]], usage: Usage, **more: Any) -> bytes:
        return encode_json({**self._fields, "choices": choices, "usage": usage, **more})
