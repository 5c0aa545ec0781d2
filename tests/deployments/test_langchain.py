"""LangChain's OpenAI classes against a real cluster: the base URL changed, and nothing else."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel, Field, SecretStr

from legato.engine.builtin_model import BUILTIN_MODEL_NAME
from legato.tests.deployments.server import Server

langchain_openai = pytest.importorskip("langchain_openai")
messages = pytest.importorskip("langchain_core.messages")


class get_weather(BaseModel):  # the class's name is the tool's
    """Get the current weather for a given city."""

    city: str


class Timer(BaseModel):
    minutes: int = Field(ge=0, le=999)


@pytest.fixture(scope="module")
def model(server: Server) -> Iterator[Any]:
    yield chat_model(server)


def chat_model(server: Server, **options: Any) -> Any:
    return langchain_openai.ChatOpenAI(
        model=options.pop("model", BUILTIN_MODEL_NAME),
        base_url=f"{server.url}/v1",
        api_key=SecretStr("none"),
        temperature=0,
        max_tokens=100,
        max_retries=0,
        timeout=60,
        **options,
    )


def test_a_chat_is_answered_and_counted(model: Any) -> None:
    answer = model.invoke([("system", "You are brief."), ("human", "Hello")])
    assert answer.content
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == BUILTIN_MODEL_NAME
    usage = answer.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


def test_a_stream_adds_up_to_the_answer(model: Any) -> None:
    chunks = list(model.stream("Hello", stream_usage=True))
    assert len(chunks) > 3
    whole = model.invoke("Hello")
    assert "".join(chunk.content for chunk in chunks) == whole.content
    told = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert told[-1]["output_tokens"] == whole.usage_metadata["output_tokens"]


async def test_the_asynchronous_methods_work_too(model: Any) -> None:
    whole = await model.ainvoke("Hello")
    streamed = [chunk.content async for chunk in model.astream("Hello")]
    assert "".join(streamed) == whole.content
    batch = await model.abatch(["Hello", "Hello"])
    assert [one.content for one in batch] == [whole.content] * 2


def test_a_bound_tool_is_called_and_its_result_told(model: Any) -> None:
    question = messages.HumanMessage("What is the weather in Paris?")
    bound = model.bind_tools([get_weather])
    answer = bound.invoke([question])
    (call,) = answer.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
    result = messages.ToolMessage("sunny", tool_call_id=call["id"])
    told = bound.invoke([question, answer, result])
    assert "sunny" in told.content and not told.tool_calls


def test_a_streamed_tool_call_is_put_together(model: Any) -> None:
    chunks = list(model.bind_tools([get_weather]).stream("What is the weather in Paris?"))
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    (call,) = total.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_structured_output_is_an_object_of_the_class(model: Any, method: str) -> None:
    wanted = model.with_structured_output(Timer, method=method, include_raw=True)
    found = wanted.invoke('Set a timer for 10 minutes, as JSON: {"minutes": 10}')
    if method != "json_mode":  # which asks for JSON, but not for which
        assert found["parsing_error"] is None
        assert isinstance(found["parsed"], Timer)
    else:
        assert found["raw"].content.lstrip().startswith("{")


def test_the_responses_api_answers_the_same(server: Server, model: Any) -> None:
    by_responses = chat_model(server, use_responses_api=True)
    assert by_responses.invoke("Hello").text == model.invoke("Hello").text
    streamed = "".join(chunk.text for chunk in by_responses.stream("Hello"))
    assert streamed == model.invoke("Hello").text


def test_embeddings_of_documents_and_of_a_query_agree(server: Server) -> None:
    embeddings = langchain_openai.OpenAIEmbeddings(
        model=BUILTIN_MODEL_NAME,
        base_url=f"{server.url}/v1",
        api_key=SecretStr("none"),
        check_embedding_ctx_length=False,  # with OpenAI's own tokenizer, from the network
    )
    first, second = embeddings.embed_documents(["a river", "a hill"])
    assert embeddings.embed_query("a river") == pytest.approx(first, abs=1e-4)
    assert len(first) == len(second) > 1 and first != second


def test_a_completion_is_answered(server: Server) -> None:
    completion = langchain_openai.OpenAI(
        model=BUILTIN_MODEL_NAME,
        base_url=f"{server.url}/v1",
        api_key=SecretStr("none"),
        temperature=0,
        max_tokens=8,
    )
    assert "".join(completion.stream("Once upon a time")) == completion.invoke("Once upon a time")


def test_errors_are_those_of_the_openai_client(server: Server, model: Any) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        chat_model(server, model="nobody").invoke("Hello")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        model.invoke("Hello", top_p=5)
    assert wrong.value.param == "top_p"
    with pytest.raises(openai.BadRequestError) as too_long:
        model.invoke("word " * 20_000)
    assert too_long.value.code == "context_length_exceeded"
