"""The built-in model calls tools and keeps to forms, through the real `openai` client."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from legato.engine.builtin_model import BUILTIN_MODEL_NAME
from legato.tests.deployments.server import Server


def object_schema(**types: str) -> dict[str, Any]:
    properties = {name: {"type": json_type} for name, json_type in types.items()}
    return {
        "type": "object",
        "properties": properties,
        "required": list(types),
        "additionalProperties": False,
    }


def tool(name: str, description: str, **types: str) -> Any:
    function = {"name": name, "description": description, "parameters": object_schema(**types)}
    return {"type": "function", "function": function}


TOOLS = [
    tool("get_weather", "Get the current weather for a given city.", city="string"),
    tool("get_time", "Get the current time in a city.", city="string"),
    tool("set_timer", "Set a timer for a number of minutes", minutes="integer"),
]
WEATHER: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
COMMON: dict[str, Any] = {"model": BUILTIN_MODEL_NAME, "temperature": 0, "max_tokens": 100}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with server.client() as client:
        yield client


def create(client: openai.OpenAI, **fields: Any) -> Any:
    """The one choice of the answer."""
    return client.chat.completions.create(**COMMON, **fields).choices[0]


def calls_of(message: Any) -> list[tuple[str, Any]]:
    calls = message.tool_calls or []
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the weather in Paris?", ("get_weather", {"city": "Paris"})),
        ("Set a timer for 10 minutes", ("set_timer", {"minutes": 10})),
    ],
)
def test_the_tool_that_fits_is_called(
    client: openai.OpenAI, text: str, expected: tuple[str, Any]
) -> None:
    messages = [{"role": "user", "content": text}]
    choice = create(client, messages=messages, tools=TOOLS)
    assert calls_of(choice.message) == [expected]
    assert choice.message.content is None
    assert choice.finish_reason == "tool_calls"


def test_a_streamed_call_is_the_one_that_is_not_streamed(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(**COMMON, messages=WEATHER, tools=TOOLS) as stream:
        choice = stream.get_final_completion().choices[0]
    assert calls_of(choice.message) == [("get_weather", {"city": "Paris"})]
    assert not choice.message.content
    assert choice.finish_reason == "tool_calls"


def test_a_tools_result_is_told_in_the_answer(client: openai.OpenAI) -> None:
    message = create(client, messages=WEATHER, tools=TOOLS).message
    result = json.dumps({"weather": "sunny", "temperature": "21 degrees"})
    messages = [
        *WEATHER,
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": result},
    ]
    choice = create(client, messages=messages, tools=TOOLS)
    assert choice.message.content == "The weather is sunny and the temperature is 21 degrees."
    assert choice.finish_reason == "stop"


def test_a_greeting_calls_nothing(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    choice = create(client, messages=messages, tools=TOOLS)
    assert choice.message.tool_calls is None
    assert choice.message.content


@pytest.mark.parametrize("text", ["Hello", "What is the weather in Oslo?", "Count from 1 to 5"])
def test_a_required_call_is_made_and_fits_a_schema(client: openai.OpenAI, text: str) -> None:
    messages = [{"role": "user", "content": text}]
    choice = create(client, messages=messages, tools=TOOLS, tool_choice="required")
    [(name, arguments)] = calls_of(choice.message)
    [key] = [
        tool["function"]["parameters"]["required"][0]
        for tool in TOOLS
        if tool["function"]["name"] == name
    ]
    assert list(arguments) == [key]
    assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
def test_the_named_tool_is_called_whatever_was_asked(client: openai.OpenAI, stream: bool) -> None:
    named = {"type": "function", "function": {"name": "set_timer"}}
    fields: dict[str, Any] = {"messages": WEATHER, "tools": TOOLS, "tool_choice": named}
    if stream:
        with client.chat.completions.stream(**COMMON, **fields) as events:
            choice: Any = events.get_final_completion().choices[0]
    else:
        choice = create(client, **fields)
    [(name, arguments)] = calls_of(choice.message)
    assert name == "set_timer"
    assert isinstance(arguments["minutes"], int)
    assert choice.finish_reason == "stop"


def test_a_json_schema_is_kept_whatever_was_asked(client: openai.OpenAI) -> None:
    schema = object_schema(name="string", age="integer")
    schema["properties"]["name"]["maxLength"] = 20  # it would go on and on where it knows nothing
    schema["properties"]["age"] |= {"minimum": 0, "maximum": 150}
    form = {
        "type": "json_schema",
        "json_schema": {"name": "person", "schema": schema, "strict": True},
    }
    for text in ("Maria is 34 years old.", "Hello", "Tell me a story."):
        messages = [{"role": "user", "content": text}]
        choice = create(client, messages=messages, response_format=form)
        assert choice.finish_reason == "stop"
        person = json.loads(choice.message.content)
        assert isinstance(person["name"], str) and isinstance(person["age"], int)
        assert person.keys() == {"name", "age"}


@pytest.mark.parametrize(
    ("form", "answers"),
    [
        ({"choice": ["yes", "no"]}, {"yes", "no"}),
        ({"regex": "(red|blue) fox"}, {"red fox", "blue fox"}),
    ],
)
def test_vllms_forms_are_kept_streamed_or_not(
    client: openai.OpenAI, form: dict[str, Any], answers: set[str]
) -> None:
    fields: dict[str, Any] = {"messages": WEATHER, "extra_body": {"structured_outputs": form}}
    assert create(client, **fields).message.content in answers
    stream = client.chat.completions.create(**COMMON, **fields, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) in answers


def test_a_schema_that_is_none_is_refused_with_the_fields_name(client: openai.OpenAI) -> None:
    schema = {"type": "no such type"}
    form: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    with pytest.raises(openai.BadRequestError) as refusal:
        create(client, messages=WEATHER, response_format=form)
    assert refusal.value.param == "response_format.json_schema.schema"


def test_with_tools_and_a_form_the_model_calls_or_answers_in_the_form(
    client: openai.OpenAI,
) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": object_schema(a="null")}}
    choice = create(client, messages=WEATHER, tools=TOOLS, response_format=form)
    assert calls_of(choice.message) == [("get_weather", {"city": "Paris"})]
    assert (choice.message.content, choice.finish_reason) == (None, "tool_calls")
    hello = [{"role": "user", "content": "Hello"}]
    choice = create(client, messages=hello, tools=TOOLS, response_format=form)
    assert choice.message.tool_calls or json.loads(choice.message.content) == {"a": None}
