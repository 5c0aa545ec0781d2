"""A training document and its text, as the chat template renders it.

`render` is the plain-Python twin of chat_template.jinja (a test holds them equal), because the
template engine is too slow to render a billion tokens.

    <|im_start|>system\\n{system}\\n\\n{tools}<|im_end|>\\n
    <|im_start|>user\\n...<|im_end|>\\n
    <|im_start|>assistant\\n<tool_call>\\n{"name": ..., ...}\\n</tool_call><|im_end|>\\n
    <|im_start|>tool\\n<tool_response>\\n...\\n</tool_response><|im_end|>\\n

The module knows nothing of tokens.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEMPLATE_PATH = Path(__file__).with_name("chat_template.jinja")

TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
DOCUMENT_END = "<|endoftext|>"
ASSISTANT_HEADER = f"{TURN_START}assistant\n"
CALL_START, CALL_END = "<tool_call>", "</tool_call>"
RESPONSE_START, RESPONSE_END = "<tool_response>", "</tool_response>"

Message = dict[str, Any]
Tool = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One task: a user's turn first, the assistant's answer last, calls and results between.

    `key` is what a right answer must hold, for tasks where the whole answer need not be the same.
    `system` is a rule that the answer follows.
    """

    skill: str
    messages: tuple[Message, ...]
    key: str = ""
    system: str = ""
    tools: tuple[Tool, ...] = ()

    @property
    def answer(self) -> str:
        """The text of the last message, or of its tool calls."""
        return assistant_text(self.messages[-1])


@dataclass(frozen=True, slots=True)
class Document:
    """What one row of training text holds: a conversation, or plain text where `text` is set."""

    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    text: str = ""


def ask(skill: str, question: str, answer: str, key: str = "") -> Exchange:
    """An exchange of one question and one answer."""
    return Exchange(skill, (user(question), assistant(answer)), key=key or answer)


def user(content: str) -> Message:
    """A user's message."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """An assistant's message."""
    return {"role": "assistant", "content": content}


def call(calls: list[tuple[str, dict[str, Any]]]) -> Message:
    """An assistant's message that calls tools: (name, arguments) each."""
    functions = [{"name": name, "arguments": arguments} for name, arguments in calls]
    tool_calls = [{"type": "function", "function": function} for function in functions]
    return {"role": "assistant", "content": "", "tool_calls": tool_calls}


def tool_result(content: str) -> Message:
    """The message that brings one tool's result."""
    return {"role": "tool", "content": content}


def to_json(value: Any) -> str:
    """JSON as the chat template writes it."""
    return json.dumps(value, ensure_ascii=False)


def assistant_text(message: Message) -> str:
    """What the assistant writes for this message, without the turn's header and end."""
    calls = "\n".join(_call_text(each["function"]) for each in message.get("tool_calls", ()))
    return "\n".join(part for part in (message["content"], calls) if part)


def render(messages: tuple[Message, ...], tools: tuple[Tool, ...] = ()) -> str:
    """The conversation as text, without a header for the next turn."""
    system = ""
    if messages and messages[0]["role"] == "system":
        system, messages = messages[0]["content"], messages[1:]
    preamble = "\n\n".join(part for part in (system, _tools_text(tools)) if part)
    head = _turn("system", preamble) if preamble else ""
    return head + "".join(_turn(each["role"], _turn_text(each)) for each in messages)


def _turn(role: str, text: str) -> str:
    return f"{TURN_START}{role}\n{text}{TURN_END}\n"


def _turn_text(message: Message) -> str:
    if message["role"] == "assistant":
        return assistant_text(message)
    if message["role"] == "tool":
        return f"{RESPONSE_START}\n{message['content']}\n{RESPONSE_END}"
    return str(message["content"])


def _call_text(function: dict[str, Any]) -> str:
    arguments = to_json(function["arguments"])
    return f'{CALL_START}\n{{"name": "{function["name"]}", "arguments": {arguments}}}\n{CALL_END}'


def _tools_text(tools: tuple[Tool, ...]) -> str:
    if not tools:
        return ""
    listed = "\n".join(to_json(tool) for tool in tools)
    return (
        f"You can call these tools:\n<tools>\n{listed}\n</tools>\n"
        f"To call a tool, answer with:\n{CALL_START}\n"
        f'{{"name": <name>, "arguments": <arguments>}}\n{CALL_END}'
    )
