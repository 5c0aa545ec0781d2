"""The items that a response is made of, as input and as output, in the one form that is kept.

| item | in the conversation |
|---|---|
| MessageItem | what a user, the system or the model said |
| ReasoningItem | what the model thought before it spoke |
| CallItem, CallOutputItem | a call of a function, and what came of it |

They encode to OpenAI's schema as they are, and never change: conversations share them.
"""

import secrets
from collections.abc import Iterable

import msgspec

from legato.deployments.openai.logprobs import TokenLogprob

COMPLETED = "completed"
IN_PROGRESS = "in_progress"
INCOMPLETE = "incomplete"


class InputText(msgspec.Struct, frozen=True, tag_field="type", tag="input_text"):
    text: str


class OutputText(msgspec.Struct, frozen=True, tag_field="type", tag="output_text"):
    text: str
    annotations: tuple[()] = ()
    logprobs: tuple[TokenLogprob, ...] = ()


class RefusalText(msgspec.Struct, frozen=True, tag_field="type", tag="refusal"):
    """What another server's model refused with; ours only speak."""

    refusal: str


class ReasoningText(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning_text"):
    text: str


class SummaryText(msgspec.Struct, frozen=True, tag_field="type", tag="summary_text"):
    text: str


MessagePart = InputText | OutputText | RefusalText


class MessageItem(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    id: str
    role: str
    content: tuple[MessagePart, ...]
    status: str = COMPLETED

    @property
    def text(self) -> str:
        return "".join(
            part.refusal if isinstance(part, RefusalText) else part.text for part in self.content
        )


class ReasoningItem(msgspec.Struct, frozen=True, tag_field="type", tag="reasoning"):
    """The thought is in `content`, or, where the client asks for a summary, in `summary`."""

    id: str
    summary: tuple[SummaryText, ...] = ()
    content: tuple[ReasoningText, ...] = ()
    encrypted_content: str | None = None
    status: str = COMPLETED

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content or self.summary)


class CallItem(msgspec.Struct, frozen=True, tag_field="type", tag="function_call"):
    id: str
    call_id: str
    name: str
    arguments: str  # JSON text, once it is complete
    status: str = COMPLETED


class CallOutputItem(msgspec.Struct, frozen=True, tag_field="type", tag="function_call_output"):
    id: str
    call_id: str
    output: str | tuple[InputText, ...]
    status: str = COMPLETED

    @property
    def text(self) -> str:
        if isinstance(self.output, str):
            return self.output
        return "".join(part.text for part in self.output)


Item = MessageItem | ReasoningItem | CallItem | CallOutputItem
OutputItem = MessageItem | ReasoningItem | CallItem

_ID_PREFIXES: dict[type[Item], str] = {
    MessageItem: "msg",
    ReasoningItem: "rs",
    CallItem: "fc",
    CallOutputItem: "fco",
}


def new_item_id(kind: type[Item]) -> str:
    """An id that nobody can guess."""
    return f"{_ID_PREFIXES[kind]}_{secrets.token_hex(24)}"


def num_encoded_bytes(values: Iterable[msgspec.Struct]) -> int:
    """About how much memory they take."""
    return sum(len(msgspec.json.encode(value)) for value in values)
