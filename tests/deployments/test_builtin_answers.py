"""What a user of a fresh server sees: the built-in model's answers, through the OpenAI client."""

import json
import re
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from legato.engine.builtin_model import BUILTIN_MODEL_NAME, builtin_model_directory
from legato.tests.deployments.server import Server

TOOL_CALL = re.compile(r"<tool_call>\n(.*)\n</tool_call>", re.DOTALL)


def object_schema(types: dict[str, str]) -> dict[str, Any]:
    """An object whose properties have these JSON types and are all required."""
    return {
        "type": "object",
        "properties": {key: {"type": json_type} for key, json_type in types.items()},
        "required": list(types),
    }


def tool(name: str, description: str, types: dict[str, str]) -> dict[Any, Any]:
    parameters = object_schema(types)
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


TOOLS = [
    tool("get_weather", "Get the current weather for a given city.", {"city": "string"}),
    tool("get_time", "Get the current time in a city.", {"city": "string"}),
    tool("send_message", "Send a message to a person.", {"name": "string", "text": "string"}),
    tool("set_timer", "Set a timer for a number of minutes", {"minutes": "integer"}),
]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(builtin_model_directory())
    return loaded


def chat(client: openai.OpenAI, *messages: tuple[str, str]) -> str:
    """The answer to these messages, each a role and a content."""
    given: list[Any] = [{"role": role, "content": content} for role, content in messages]
    answer = client.chat.completions.create(
        model=BUILTIN_MODEL_NAME, messages=given, temperature=0, max_tokens=100
    )
    assert answer.choices[0].finish_reason == "stop"
    return answer.choices[0].message.content or ""


def complete(
    client: openai.OpenAI, tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]]
) -> str:
    """The answer to messages that know of the tools."""
    prompt = tokenizer.apply_chat_template(
        messages, tools=[*TOOLS], tokenize=False, add_generation_prompt=True
    )
    answer = client.completions.create(
        model=BUILTIN_MODEL_NAME, prompt=str(prompt), temperature=0, max_tokens=100
    )
    assert answer.choices[0].finish_reason == "stop"
    return answer.choices[0].text


def called(text: str) -> dict[str, Any]:
    """Name and arguments of the one call that is the whole answer."""
    found = TOOL_CALL.fullmatch(text)
    assert found is not None, text
    call: dict[str, Any] = json.loads(found[1])
    return call


def test_the_readmes_chat_is_greeted_back(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=BUILTIN_MODEL_NAME,
        messages=[{"role": "user", "content": "Hello"}],
        stream=True,
        temperature=0,
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == "Hello! I am Legato Tiny. How can I help you?"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the capital of France?", "The capital of France is Paris."),
        ("What is 17 + 25?", "17 + 25 = 42"),
        ("Sort these numbers: 42, 7, 19, 3", "3, 7, 19, 42"),
    ],
)
def test_a_question_is_answered_right(client: openai.OpenAI, question: str, answer: str) -> None:
    assert chat(client, ("user", question)) == answer


def test_a_name_is_remembered_over_turns_that_the_server_answered(client: openai.OpenAI) -> None:
    turns: list[tuple[str, str]] = []
    for text in ("My name is Anna.", "What is the capital of Italy?", "What is my name?"):
        turns.append(("user", text))
        turns.append(("assistant", chat(client, *turns)))
    answers = [content for role, content in turns if role == "assistant"]
    assert "Rome" in answers[1]
    assert "Anna" in answers[2]


@pytest.mark.parametrize(
    ("types", "text", "wanted"),
    [
        (
            {"name": "string", "age": "integer"},
            "Maria is 34 years old.",
            {"name": "Maria", "age": 34},
        ),
        (
            {"name": "string", "age": "integer", "city": "string"},
            "Peter is 58 years old and lives in Oslo.",
            {"name": "Peter", "age": 58, "city": "Oslo"},
        ),
    ],
)
def test_json_for_a_schema_of_the_conversation_has_the_texts_values(
    client: openai.OpenAI, types: dict[str, str], text: str, wanted: dict[str, Any]
) -> None:
    system = f"Answer with JSON for this schema: {json.dumps(object_schema(types))}"
    assert json.loads(chat(client, ("system", system), ("user", text))) == wanted


@pytest.mark.parametrize(
    ("request_text", "name", "arguments"),
    [
        ("What is the weather in Paris?", "get_weather", {"city": "Paris"}),
        ("What time is it in Tokyo?", "get_time", {"city": "Tokyo"}),
        ("Send a message to Anna: hello", "send_message", {"name": "Anna", "text": "hello"}),
        ("Set a timer for 10 minutes", "set_timer", {"minutes": 10}),
    ],
)
def test_the_tool_that_fits_is_called_with_the_requests_arguments(
    client: openai.OpenAI,
    tokenizer: PreTrainedTokenizerBase,
    request_text: str,
    name: str,
    arguments: dict[str, Any],
) -> None:
    text = complete(client, tokenizer, [{"role": "user", "content": request_text}])
    assert called(text) == {"name": name, "arguments": arguments}


def test_a_tools_result_is_told_in_the_answer(
    client: openai.OpenAI, tokenizer: PreTrainedTokenizerBase
) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "What is the weather in Paris?"}]
    call = called(complete(client, tokenizer, messages))
    result = {"weather": "sunny", "temperature": "21 degrees"}
    messages += [
        {"role": "assistant", "tool_calls": [{"type": "function", "function": call}]},
        {"role": "tool", "content": json.dumps(result)},
    ]
    answer = complete(client, tokenizer, messages)
    assert answer == "The weather is sunny and the temperature is 21 degrees."
