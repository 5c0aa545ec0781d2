"""The plain-Python rendering and the chat template, which must agree."""

import random

import jinja2
import pytest
from transformers.utils.chat_template_utils import _compile_jinja_template  # type: ignore[attr-defined]

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
def template() -> jinja2.Template:
    compiled: jinja2.Template = _compile_jinja_template(TEMPLATE_PATH.read_text())
    return compiled


def rendered(
    template: jinja2.Template, messages: tuple[Message, ...], tools: tuple[Tool, ...] = ()
) -> str:
    return template.render(messages=list(messages), tools=list(tools), add_generation_prompt=False)


def test_the_template_renders_documents_as_training_does(template: jinja2.Template) -> None:
    rng = random.Random(0)

    for _ in range(150):
        each = document(rng, Split.TRAIN)
        assert rendered(template, each.messages, each.tools) == render(each.messages, each.tools)


def test_the_template_lists_the_tools_and_renders_call_and_result(
    template: jinja2.Template,
) -> None:
    messages = (
        user("How is Paris?"),
        call([("get_weather", {"city": "Paris"})]),
        tool_result('{"sky": "clear"}'),
        assistant("The sky is clear."),
    )

    text = rendered(template, messages, (WEATHER,))

    assert '<tools>\n{"type": "function", "function": {"name": "get_weather"' in text
    assert (
        "<|im_start|>assistant\n<tool_call>\n"
        '{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call><|im_end|>'
    ) in text
    assert '<tool_response>\n{"sky": "clear"}\n</tool_response>' in text


def test_arguments_may_be_json_text_as_in_the_openai_api(template: jinja2.Template) -> None:
    as_object = call([("get_weather", {"city": "Paris"})])
    as_text = call([("get_weather", {"city": "Paris"})])
    as_text["tool_calls"][0]["function"]["arguments"] = '{"city": "Paris"}'

    assert rendered(template, (user("?"), as_text)) == rendered(template, (user("?"), as_object))


def test_content_may_be_absent_or_a_list_of_parts(template: jinja2.Template) -> None:
    silent = call([("get_weather", {})]) | {"content": None}
    parts = {"role": "user", "content": [{"type": "text", "text": "How is Paris?"}]}

    assert rendered(template, (parts, silent)) == rendered(
        template, (user("How is Paris?"), call([("get_weather", {})]))
    )


def test_the_generation_prompt_opens_the_assistants_turn(template: jinja2.Template) -> None:
    text = template.render(messages=[user("Hi")], add_generation_prompt=True)

    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
