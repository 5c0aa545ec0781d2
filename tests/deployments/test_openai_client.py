"""The real `openai` client against a real cluster that hands every prompt over."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel, Field

from legato.engine.builtin_model import builtin_model_directory
from legato.engine.llm import LLM
from legato.engine.sampling_params import SamplingParams
from legato.tests.deployments.server import Server

MESSAGES: list[Any] = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": "Tell me about rivers, and count to five: 1, 2"},
]
PROMPT = "Once upon a time there was a river that ran through the hills"
# Lengths around the block of 16 tokens, and one of several prefill chunks.
PROMPT_LENGTHS = (1, 15, 16, 17, 40, 1100)
GREEDY: dict[str, Any] = {"temperature": 0, "extra_body": {"ignore_eos": True}}
WITH_IDS: dict[str, Any] = {
    "temperature": 0,
    "extra_body": {"ignore_eos": True, "return_token_ids": True},
}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def model(client: openai.OpenAI) -> str:
    return client.models.list().data[0].id


@pytest.fixture(scope="module")
def engine() -> LLM:
    """The same model without a server."""
    return LLM(model=str(builtin_model_directory()), dtype="float32", device="cpu", max_num_seqs=8)


def test_a_chat_is_answered(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=12, **GREEDY)
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "length"
    assert answer.model == model
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12


def test_a_streamed_chat_has_the_text_of_one_that_is_not(client: openai.OpenAI, model: str) -> None:
    whole = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=40, **GREEDY)
    stream = client.chat.completions.create(
        model=model,
        messages=MESSAGES,
        max_tokens=40,
        stream=True,
        stream_options={"include_usage": True},
        **GREEDY,
    )
    chunks = list(stream)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert len(deltas) > 5
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons == [None] * (len(reasons) - 1) + ["length"]
    assert chunks[-1].usage is not None and whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_streamed_completion_has_the_text_of_one_that_is_not(
    client: openai.OpenAI, model: str
) -> None:
    whole = client.completions.create(model=model, prompt=PROMPT, max_tokens=40, **WITH_IDS)
    stream = client.completions.create(
        model=model, prompt=PROMPT, max_tokens=40, stream=True, **WITH_IDS
    )
    text, token_ids = "", []
    for chunk in stream:
        text += chunk.choices[0].text
        token_ids += _token_ids(chunk.choices[0])
    assert text == whole.choices[0].text
    assert token_ids == _token_ids(whole.choices[0])
    assert len(token_ids) == 40


def test_answers_of_the_cluster_equal_those_of_one_engine_token_for_token(
    server: Server, client: openai.OpenAI, model: str, engine: LLM
) -> None:
    vocab_size = engine.core.limits.vocab_size
    prompts = [[(7 * i + n) % (vocab_size - 4) + 4 for i in range(n)] for n in PROMPT_LENGTHS]
    params = SamplingParams(temperature=0, max_tokens=48, ignore_eos=True)
    expected = [
        list(output.outputs[0].token_ids)
        for output in engine.generate(prompts, params, use_tqdm=False)
    ]
    handed_over = server.total("legato_handover_total")
    for _ in range(2):  # the second time with prefix hits on both workers
        answer = client.completions.create(model=model, prompt=prompts, max_tokens=48, **WITH_IDS)
        assert [_token_ids(choice) for choice in answer.choices] == expected
    assert server.total("legato_handover_total") >= handed_over + 2 * len(prompts)


def test_n_answers_come_in_order_and_the_first_is_what_n_1_gives(
    client: openai.OpenAI, model: str
) -> None:
    story = [{"role": "user", "content": "Tell me a story."}]  # to facts there is one answer
    sampled: dict[str, Any] = {"model": model, "messages": story, "max_tokens": 40, "seed": 5}
    sampled["temperature"] = 1.5
    two = client.chat.completions.create(n=2, **sampled)
    one = client.chat.completions.create(**sampled)
    assert [choice.index for choice in two.choices] == [0, 1]
    texts = [choice.message.content for choice in two.choices]
    assert texts[0] == one.choices[0].message.content
    assert texts[0] != texts[1]
    stream = client.chat.completions.create(n=2, stream=True, **sampled)
    streamed = ["", ""]
    for chunk in stream:
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts


def test_the_same_seed_gives_the_same_text_and_another_seed_another(
    client: openai.OpenAI, model: str
) -> None:
    def text(seed: int) -> str:
        answer = client.completions.create(
            model=model,
            prompt=PROMPT,
            max_tokens=24,
            temperature=1.5,
            seed=seed,
            extra_body={"ignore_eos": True},
        )
        return answer.choices[0].text

    assert text(11) == text(11)
    assert text(11) != text(12)


def test_a_stop_string_ends_the_answer_before_it(client: openai.OpenAI, model: str) -> None:
    whole = client.completions.create(model=model, prompt=PROMPT, max_tokens=40, **GREEDY)
    text = whole.choices[0].text
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    expected = text[: text.index(stop)]
    stopped = client.completions.create(
        model=model, prompt=PROMPT, max_tokens=40, stop=[stop, "never"], **GREEDY
    )
    assert stopped.choices[0].text == expected
    assert stopped.choices[0].finish_reason == "stop"
    stream = client.completions.create(
        model=model, prompt=PROMPT, max_tokens=40, stop=stop, stream=True, **GREEDY
    )
    assert "".join(chunk.choices[0].text for chunk in stream) == expected


def test_logprobs_come_with_each_token_and_greedy_takes_the_likeliest(
    client: openai.OpenAI, model: str
) -> None:
    answer = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=8, logprobs=True, top_logprobs=3, **GREEDY
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert len(logprobs.content) == 8
    for entry in logprobs.content:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob <= 0
        assert entry.logprob == max(top.logprob for top in entry.top_logprobs)


def test_logprobs_of_a_completion_come_as_parallel_lists(client: openai.OpenAI, model: str) -> None:
    answer = client.completions.create(
        model=model, prompt=PROMPT, max_tokens=8, logprobs=2, **GREEDY
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None and len(logprobs.tokens) == 8
    assert logprobs.token_logprobs is not None and len(logprobs.token_logprobs) == 8
    assert logprobs.top_logprobs is not None and all(map(len, logprobs.top_logprobs))


def test_an_echo_tells_how_likely_a_prompt_is(
    client: openai.OpenAI, model: str, engine: LLM
) -> None:
    prompt = [(7 * i) % 900 + 100 for i in range(1100)]
    params = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0)
    (expected,) = engine.generate(prompt, params, use_tqdm=False)
    assert expected.prompt_logprobs is not None
    answer = client.completions.create(
        model=model, prompt=prompt, max_tokens=1, logprobs=1, echo=True, temperature=0
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.token_logprobs is not None
    assert len(logprobs.token_logprobs) == len(prompt) + 1
    assert logprobs.token_logprobs[0] is None
    pairs = zip(prompt, logprobs.token_logprobs, expected.prompt_logprobs, strict=False)
    for token_id, told, known in list(pairs)[1:]:
        assert known is not None
        assert told == pytest.approx(known[token_id].logprob, abs=1e-3)


def test_embeddings_are_vectors_of_length_one_and_the_same_for_the_same_text(
    client: openai.OpenAI, model: str
) -> None:
    texts = [PROMPT, "Something else", PROMPT]
    answer = client.embeddings.create(model=model, input=texts)
    one, other, again = (item.embedding for item in answer.data)
    assert sum(value * value for value in one) == pytest.approx(1, abs=1e-4)
    assert one == pytest.approx(again, abs=1e-4)
    assert one != pytest.approx(other, abs=1e-2)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 20


def test_ignore_eos_generates_past_an_end_and_max_tokens_bounds_it(
    client: openai.OpenAI, model: str
) -> None:
    def create(**more: Any) -> Any:
        answer = client.completions.create(
            model=model, prompt=PROMPT, max_tokens=30, temperature=0, **more
        )
        return answer.choices[0]

    free = _token_ids(create(extra_body={"ignore_eos": True, "return_token_ids": True}))
    assert len(free) == 30
    ended = create(extra_body={"stop_token_ids": [free[9]], "return_token_ids": True})
    assert ended.finish_reason == "stop"
    assert len(_token_ids(ended)) <= 10


def test_a_prompt_of_token_ids_is_answered_like_its_text(
    server: Server, client: openai.OpenAI, model: str
) -> None:
    by_text = client.completions.create(model=model, prompt=PROMPT, max_tokens=8, **WITH_IDS)
    prompt_ids = (by_text.choices[0].model_extra or {})["prompt_token_ids"]
    by_ids = client.completions.create(model=model, prompt=prompt_ids, max_tokens=8, **WITH_IDS)
    assert _token_ids(by_ids.choices[0]) == _token_ids(by_text.choices[0])


async def test_many_concurrent_streams_of_the_async_client_are_all_answered_right(
    server: Server, client: openai.OpenAI, model: str
) -> None:
    prompts = [f"{i} rivers run to the sea" + " and on" * i for i in range(32)]
    expected = client.completions.create(model=model, prompt=prompts, max_tokens=32, **WITH_IDS)

    async def follow(client: openai.AsyncOpenAI, prompt: str) -> list[int]:
        stream = await client.completions.create(
            model=model, prompt=prompt, max_tokens=32, stream=True, **WITH_IDS
        )
        return [token async for chunk in stream for token in _token_ids(chunk.choices[0])]

    async with server.async_client() as aclient:
        answers = await asyncio.gather(*(follow(aclient, prompt) for prompt in prompts))
    assert answers == [_token_ids(choice) for choice in expected.choices]
    server.wait_until_idle()


async def test_the_async_client_chats_without_a_stream(server: Server, model: str) -> None:
    async with server.async_client() as aclient:
        answers = await asyncio.gather(
            *(
                aclient.chat.completions.create(
                    model=model, messages=MESSAGES, max_tokens=10, **GREEDY
                )
                for _ in range(4)
            )
        )
    assert len({answer.choices[0].message.content for answer in answers}) == 1


def test_the_clients_error_classes_fit_what_went_wrong(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="nobody", messages=MESSAGES)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model=model, messages=MESSAGES, temperature=-1)
    assert wrong.value.param == "temperature"


class Place(BaseModel):
    city: str = Field(max_length=20)


def test_the_chat_stream_helper_tells_of_each_piece_and_of_the_whole(
    client: openai.OpenAI, model: str
) -> None:
    greeting: list[Any] = [{"role": "user", "content": "Hello"}]
    asked: dict[str, Any] = {"model": model, "messages": greeting, "temperature": 0}
    whole = client.chat.completions.create(max_tokens=100, **asked).choices[0].message.content
    with client.chat.completions.stream(max_tokens=100, **asked) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == whole
    assert len(deltas) > 1


def test_the_parse_helpers_give_an_object_of_the_class(client: openai.OpenAI, model: str) -> None:
    question: list[Any] = [{"role": "user", "content": "Where is the tower?"}]
    chat = client.chat.completions.parse(
        model=model, messages=question, response_format=Place, temperature=0, max_tokens=100
    )
    response = client.responses.parse(
        model=model, input=question, text_format=Place, temperature=0, max_output_tokens=100
    )
    assert isinstance(chat.choices[0].message.parsed, Place)
    assert response.output_parsed == chat.choices[0].message.parsed


async def test_the_response_stream_helper_ends_in_the_whole(server: Server, model: str) -> None:
    asked: dict[str, Any] = {"model": model, "input": "Hello", "temperature": 0}
    async with server.async_client() as aclient:
        whole = await aclient.responses.create(max_output_tokens=50, **asked)
        async with aclient.responses.stream(max_output_tokens=50, **asked) as stream:
            deltas = [e.delta async for e in stream if e.type == "response.output_text.delta"]
            final = await stream.get_final_response()
    assert "".join(deltas) == final.output_text == whole.output_text


def test_the_name_of_a_request_goes_there_and_back(client: openai.OpenAI, model: str) -> None:
    ask = client.completions.with_raw_response.create
    mine = ask(model=model, prompt=PROMPT, max_tokens=1, extra_headers={"x-request-id": "mine"})
    assert mine.headers["x-request-id"] == "mine"
    assert ask(model=model, prompt=PROMPT, max_tokens=1).headers["x-request-id"].startswith("req_")


def test_a_client_that_times_out_leaves_nothing_behind(
    server: Server, client: openai.OpenAI, model: str
) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.completions.create(
            model=model, prompt=PROMPT, max_tokens=1900, timeout=0.3, **GREEDY
        )
    server.wait_until_idle()


def _token_ids(choice: Any) -> list[int]:
    """vLLM's extension of a choice, which the client's types do not know."""
    return list(choice.model_extra.get("token_ids") or ())
