"""The writes of one stream."""

import asyncio

from starlette.types import Message

from legato.deployments.openai.sse import SseWriter


class Sent:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        await asyncio.sleep(0)
        self.messages.append(message)

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.messages[1:]]


async def test_the_first_write_starts_the_response_and_the_last_ends_it() -> None:
    sent = Sent()
    writer = SseWriter(sent, 10)
    assert not writer.is_started
    await asyncio.gather(writer.write(b"a"), writer.write(b"b"))
    assert writer.is_started
    await writer.write(b"c", is_last=True)
    await writer.write(b"d")
    assert [message["type"] for message in sent.messages[:2]] == [
        "http.response.start",
        "http.response.body",
    ]
    assert sent.bodies == [b"a", b"b", b"c"]
    assert [message["more_body"] for message in sent.messages[1:]] == [True, True, False]


async def test_a_comment_is_written_in_silence_alone() -> None:
    sent = Sent()
    await SseWriter(sent, 10).keep_alive()
    assert not sent.messages
    await SseWriter(sent, 0).keep_alive()
    assert sent.bodies == [b": keep-alive\n\n"]
