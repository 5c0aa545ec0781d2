"""Which tools a request lets the model see and call."""

from typing import Any

import pytest

from legato.deployments.openai.tool_use import ToolChoice, read_tool_use
from legato.engine.errors import InvalidRequestError


def tool(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool("weather", city={"type": "string"}), tool("add", a={"$ref": "#/$defs/number"})]
TOOLS[1]["function"]["parameters"]["$defs"] = {"number": {"type": "integer"}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    entries = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": entries}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


@pytest.mark.parametrize(
    ("choice", "names", "expected"),
    [
        (None, {"weather", "add"}, ToolChoice.AUTO),
        ("auto", {"weather", "add"}, ToolChoice.AUTO),
        ("required", {"weather", "add"}, ToolChoice.REQUIRED),
        (named("add"), {"add"}, ToolChoice.NAMED),
        (allowed("auto", "add"), {"add"}, ToolChoice.AUTO),
        (allowed("required", "add", "weather"), {"weather", "add"}, ToolChoice.REQUIRED),
    ],
)
def test_the_choice_says_which_tools_there_are_and_what_must_be(
    choice: Any, names: set[str], expected: ToolChoice
) -> None:
    use = read_tool_use(TOOLS, choice)
    assert use is not None
    assert (set(use.names), use.choice) == (names, expected)


@pytest.mark.parametrize("choice", ["none", "auto", None])
def test_without_tools_and_with_none_there_is_no_use(choice: str | None) -> None:
    assert read_tool_use(TOOLS if choice == "none" else [], choice) is None


BAD_TOOLS: list[tuple[dict[str, Any], str]] = [
    ({}, "tools[0].type"),
    ({"type": "custom", "custom": {"name": "f"}}, "tools[0].type"),
    ({"type": "function"}, "tools[0].function"),
    ({"type": "function", "function": {}}, "tools[0].function.name"),
    ({"type": "function", "function": {"name": "f" * 129}}, "tools[0].function.name"),
    ({"type": "function", "function": {"name": "f", "parameters": 5}}, "tools[0].function.param"),
]


@pytest.mark.parametrize(("wrong", "param"), BAD_TOOLS)
def test_a_malformed_tool_is_refused_by_its_place(wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        read_tool_use([wrong], None)
    assert (refusal.value.param or "").startswith(param)


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        read_tool_use([TOOLS[0], TOOLS[0]], None)
    assert refusal.value.param == "tools[1].function.name"


@pytest.mark.parametrize(
    "choice",
    [
        "always",
        named("nobody"),
        {"type": "function"},
        {"type": "custom", "custom": {"name": "weather"}},
        allowed("never", "add"),
        allowed("auto", "nobody"),
        allowed("auto"),
        {},
    ],
)
def test_a_choice_that_names_nothing_is_refused(choice: Any) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        read_tool_use(TOOLS, choice)
    assert (refusal.value.param or "").startswith("tool_choice")


def test_a_call_is_required_of_tools_that_there_are() -> None:
    with pytest.raises(InvalidRequestError, match="needs tools"):
        read_tool_use(None, "required")
