"""/v1/responses with the built-in model, through the real `openai` client."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from legato.engine.builtin_model import BUILTIN_MODEL_NAME
from legato.tests.deployments.server import Server

COMMON: dict[str, Any] = {"model": BUILTIN_MODEL_NAME, "temperature": 0, "max_output_tokens": 100}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a given city.",
    "parameters": CITY,
    "strict": True,
}
TIME: Any = {**WEATHER, "name": "get_time", "description": "Get the current time in a city."}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with server.client() as client:
        yield client


def test_a_greeting_is_the_chats(client: openai.OpenAI) -> None:
    response = client.responses.create(**COMMON, input="Hello")
    assert response.status == "completed"
    chat = client.chat.completions.create(
        model=BUILTIN_MODEL_NAME,
        messages=[{"role": "user", "content": "Hello"}],
        temperature=0,
        max_tokens=100,
    )
    assert response.output_text == chat.choices[0].message.content
    assert response.usage is not None and chat.usage is not None
    assert response.usage.total_tokens == chat.usage.total_tokens


def test_a_name_is_remembered_from_the_response_before(client: openai.OpenAI) -> None:
    first = client.responses.create(**COMMON, input="My name is Anna.")
    second = client.responses.create(
        **COMMON, input="What is my name?", previous_response_id=first.id
    )
    assert "Anna" in second.output_text


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_output_is_told(client: openai.OpenAI, stream: bool) -> None:
    question, tools = "What is the weather in Paris?", [WEATHER, TIME]
    if stream:
        with client.responses.stream(**COMMON, input=question, tools=tools) as events:
            first: Any = events.get_final_response()
    else:
        first = client.responses.create(**COMMON, input=question, tools=tools)
    [call] = first.output
    assert (call.type, call.name) == ("function_call", "get_weather")
    assert json.loads(call.arguments) == {"city": "Paris"}
    weather = json.dumps({"weather": "sunny", "temperature": "21 degrees"})
    second = client.responses.create(
        **COMMON,
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": weather}],
        tools=tools,
    )
    assert second.output_text == "The weather is sunny and the temperature is 21 degrees."


def test_the_named_tool_is_called_whatever_was_asked(client: openai.OpenAI) -> None:
    named: Any = {"type": "function", "name": "get_time"}
    response = client.responses.create(
        **COMMON, input="Hello", tools=[WEATHER, TIME], tool_choice=named
    )
    [call] = response.output
    assert call.type == "function_call" and call.name == "get_time"


def test_a_schema_is_kept_whatever_was_asked(client: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "name": "place", "schema": CITY, "strict": True}
    response = client.responses.create(**COMMON, input="Hello", text={"format": form})
    assert json.loads(response.output_text).keys() == {"city"}


def test_a_stream_in_the_background_is_read_again_from_its_middle(client: openai.OpenAI) -> None:
    question = "What is the capital of France?"
    stream = client.responses.create(**COMMON, input=question, background=True, stream=True)
    first = next(iter(stream))
    stream.close()
    assert first.type == "response.created"
    rest = client.responses.retrieve(first.response.id, stream=True, starting_after=1)
    events = list(rest)
    assert [event.sequence_number for event in events] == list(range(2, 2 + len(events)))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "The capital of France is Paris."
    assert client.responses.cancel(first.response.id).status == "completed"
