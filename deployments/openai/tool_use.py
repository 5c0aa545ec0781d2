"""What a request says of tools: which the model sees, and whether it may, must or must not call.

| tool_choice | the model | the answer is held to |
|---|---|---|
| none | sees no tools | |
| auto, and by default | may call | calls, or the form that is asked for, if one is |
| required | has to call one of the tools | calls of them |
| a function by its name | has to call that one | a call of it |
| allowed_tools | sees those alone, and may or has to call | as auto, or as required |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from legato.engine.errors import InvalidRequestError

MAX_NAME_CHARS = 128

Tool = dict[str, Any]  # {"type": "function", "function": {"name": ..., ...}}, as it was sent


class ToolChoice(Enum):
    AUTO = "auto"
    REQUIRED = "required"
    NAMED = "named"  # by the client: there is one tool


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The tools of one request, at least one."""

    tools: tuple[Tool, ...]
    choice: ToolChoice

    @property
    def names(self) -> frozenset[str]:
        return frozenset(tool["function"]["name"] for tool in self.tools)

    @property
    def is_forced(self) -> bool:
        return self.choice is not ToolChoice.AUTO


def read_tools(tools: Sequence[Tool] | None) -> tuple[Tool, ...]:
    """The tools, checked as far as Legato reads them.

    Raises:
        InvalidRequestError: a tool is no function with a name, or its parameters are no schema.
    """
    names = [_name_of(tool, f"tools[{i}]") for i, tool in enumerate(tools or ())]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise InvalidRequestError("two tools have this name", f"tools[{i}].function.name")
    return tuple(tools or ())


def read_tool_use(
    tools: Sequence[Tool] | None, tool_choice: str | Mapping[str, Any] | None
) -> ToolUse | None:
    """What the model may do; None: no tools at all.

    Raises:
        InvalidRequestError: a tool is malformed, or the choice is, or it names no tool.
    """
    offered = read_tools(tools)
    if isinstance(tool_choice, Mapping):
        return _read_object(offered, tool_choice)
    if tool_choice not in (None, "none", "auto", "required"):
        raise InvalidRequestError("must be 'none', 'auto', 'required' or an object", "tool_choice")
    if tool_choice == "required" and not offered:
        raise InvalidRequestError("needs tools", "tool_choice")
    if tool_choice == "none" or not offered:
        return None
    return ToolUse(offered, ToolChoice(tool_choice or "auto"))


def _read_object(offered: tuple[Tool, ...], choice: Mapping[str, Any]) -> ToolUse:
    match choice:
        case {"type": "function", "function": {"name": str(name)}}:
            return ToolUse((_find(offered, name),), ToolChoice.NAMED)
        case {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto" | "required" as mode, "tools": [_, *_] as allowed},
        }:
            tools = tuple(_allowed(offered, entry) for entry in allowed)
            return ToolUse(tools, ToolChoice(mode))
    raise InvalidRequestError("must name a function, or allowed tools", "tool_choice")


def _allowed(offered: tuple[Tool, ...], entry: Any) -> Tool:
    match entry:
        case {"type": "function", "function": {"name": str(name)}}:
            return _find(offered, name)
    raise InvalidRequestError("must name functions", "tool_choice.allowed_tools.tools")


def _find(offered: tuple[Tool, ...], name: str) -> Tool:
    found = [tool for tool in offered if tool["function"]["name"] == name]
    if not found:
        raise InvalidRequestError(f"there is no tool {name[:MAX_NAME_CHARS]!r}", "tool_choice")
    return found[0]


def _name_of(tool: Tool, place: str) -> str:
    if tool.get("type") != "function":
        raise InvalidRequestError("only 'function' is supported", f"{place}.type")
    function = tool.get("function")
    if not isinstance(function, dict):
        raise InvalidRequestError("must be an object", f"{place}.function")
    name = function.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS:
        raise InvalidRequestError(
            f"must be a string of 1 to {MAX_NAME_CHARS} characters", f"{place}.function.name"
        )
    if not isinstance(function.get("parameters") or {}, dict):
        raise InvalidRequestError("must be a JSON schema", f"{place}.function.parameters")
    return name
