"""The plain-Python rendering and the chat template, which must agree."""

import random
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from legato.training.chat import (
    TEMPLATE_PATH,
    Message,
    Tool,
    assistant,
    call,
    render,
    tool_result,
    user,
)
from legato.training.skills.mix import document
from legato.training.split import Split

WEATHER: Tool = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture(scope="module")
def chat(tokenizer: Tokenizer) -> Any:
    """A tokenizer of transformers that carries the template."""
    template = TEMPLATE_PATH.read_text()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template)


def rendered(chat: Any, messages: tuple[Message, ...], tools: tuple[Tool, ...] = ()) -> str:
    text: str = chat.apply_chat_template(list(messages), tools=list(tools), tokenize=False)
    return text


def test_the_template_renders_documents_as_training_does(chat: Any) -> None:
    rng = random.Random(0)

    for _ in range(150):
        each = document(rng, Split.TRAIN)
        if not each.messages:
            continue
        assert rendered(chat, each.messages, each.tools) == render(each.messages, each.tools)


def test_the_template_lists_the_tools_and_renders_call_and_result(
    chat: Any,
) -> None:
    messages = (
        user("How is Paris?"),
        call([("get_weather", {"city": "Paris"})]),
        tool_result('{"sky": "clear"}'),
        assistant("The sky is clear."),
    )

    text = rendered(chat, messages, (WEATHER,))

    assert '<tools>\n{"type": "function", "function": {"name": "get_weather"' in text
    assert (
        "<|im_start|>assistant\n<tool_call>\n"
        '{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call><|im_end|>'
    ) in text
    assert '<tool_response>\n{"sky": "clear"}\n</tool_response>' in text


def test_arguments_may_be_json_text_as_in_the_openai_api(chat: Any) -> None:
    as_object = call([("get_weather", {"city": "Paris"})])
    as_text = call([("get_weather", {"city": "Paris"})])
    as_text["tool_calls"][0]["function"]["arguments"] = '{"city": "Paris"}'

    assert rendered(chat, (user("?"), as_text)) == rendered(chat, (user("?"), as_object))


def test_content_may_be_absent_or_a_list_of_parts(chat: Any) -> None:
    silent = call([("get_weather", {})]) | {"content": None}
    parts = {"role": "user", "content": [{"type": "text", "text": "How is Paris?"}]}

    assert rendered(chat, (parts, silent)) == rendered(
        chat, (user("How is Paris?"), call([("get_weather", {})]))
    )


def test_the_generation_prompt_opens_the_assistants_turn(chat: Any) -> None:
    text = chat.apply_chat_template([user("Hi")], tokenize=False, add_generation_prompt=True)

    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
