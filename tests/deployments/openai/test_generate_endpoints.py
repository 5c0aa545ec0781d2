"""Chat and completions as the real OpenAI client sees them."""

import json

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from legato.tests.deployments.openai.harness import (
    ALIAS,
    EOS_ID,
    MODEL,
    REPLY,
    ScriptedBackend,
    decode,
    encode,
    http_client,
    make_app,
    openai_client,
)

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


async def test_a_chat_is_answered_with_text_finish_reason_and_usage() -> None:
    backend = ScriptedBackend()
    async with openai_client(make_app(backend)) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=HI)
    [choice] = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == REPLY
    assert choice.finish_reason == "stop"
    assert answer.model == MODEL
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(backend.requests[0].prompt_token_ids)
    assert answer.usage.completion_tokens == len(encode(REPLY)) + 1
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 4


async def test_a_chat_reaches_the_backend_as_its_template_renders_it() -> None:
    backend = ScriptedBackend()
    async with openai_client(make_app(backend)) as client:
        await client.chat.completions.create(
            model=ALIAS,
            messages=[
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            ],
            extra_body={"chat_template_kwargs": {"mood": "calm"}},
        )
    text = "<|start|>system\nbe brief<|end|>\n<|start|>user\nhi<|end|>\n(calm)<|start|>assistant\n"
    assert backend.requests[0].prompt_token_ids == encode(text)


async def test_the_last_message_of_the_assistant_can_be_continued() -> None:
    backend = ScriptedBackend()
    async with openai_client(make_app(backend)) as client:
        await client.chat.completions.create(
            model=MODEL,
            messages=[*HI, {"role": "assistant", "content": "Well,"}],
            extra_body={"continue_final_message": True},
        )
    text = "<|start|>user\nhi<|end|>\n<|start|>assistant\nWell,"
    assert backend.requests[0].prompt_token_ids == encode(text)


async def test_without_max_tokens_a_chat_may_fill_the_context() -> None:
    backend = ScriptedBackend()
    async with openai_client(make_app(backend)) as client:
        await client.chat.completions.create(model=MODEL, messages=HI)
    [request] = backend.requests
    assert request.params.max_tokens == 256 - len(request.prompt_token_ids)


async def test_completions_take_prompts_as_texts_and_as_token_ids() -> None:
    ids = list(encode("The fox"))
    prompts: list[str | list[str] | list[int] | list[list[int]]]
    prompts = ["The fox", ["The fox"] * 2, ids, [ids, ids]]
    for prompt, num_prompts in zip(prompts, (1, 2, 1, 2), strict=True):
        backend = ScriptedBackend()
        async with openai_client(make_app(backend)) as client:
            answer = await client.completions.create(model=MODEL, prompt=prompt, max_tokens=3)
        assert [request.prompt_token_ids for request in backend.requests] == [
            tuple(ids)
        ] * num_prompts
        assert [choice.index for choice in answer.choices] == list(range(num_prompts))
        assert all(choice.text == "The quick brown" for choice in answer.choices)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == len(ids) * num_prompts
        assert answer.usage.completion_tokens == 3 * num_prompts


async def test_a_completion_has_sixteen_tokens_unless_it_says_otherwise() -> None:
    backend = ScriptedBackend()
    async with openai_client(make_app(backend)) as client:
        answer = await client.completions.create(model=MODEL, prompt="a", max_tokens=None)
    assert answer.usage is not None and answer.usage.completion_tokens == 16
    assert answer.choices[0].finish_reason == "length"


async def test_an_echo_puts_the_prompt_before_the_answer() -> None:
    async with openai_client(make_app()) as client:
        for prompt in ("The fox", list(encode("The fox"))):
            arguments = {"model": MODEL, "prompt": prompt, "max_tokens": 2, "echo": True}
            answer = await client.completions.create(**arguments)  # type: ignore[call-overload]
            assert answer.choices[0].text == "The foxThe quick"
            stream = await client.completions.create(**arguments, stream=True)  # type: ignore[call-overload]
            assert "".join([c.choices[0].text async for c in stream]) == "The foxThe quick"


async def test_each_of_n_answers_has_a_seed_of_its_own_and_the_first_is_that_of_one() -> None:
    backend = ScriptedBackend()
    async with openai_client(make_app(backend)) as client:
        answer = await client.completions.create(model=MODEL, prompt="a", n=3, seed=-1)
        await client.completions.create(model=MODEL, prompt="a", seed=-1)
        await client.completions.create(model=MODEL, prompt="a")
    seeds = [request.sampling_seed for request in backend.requests]
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len(set(seeds[:3])) == 3
    assert seeds[3] == seeds[0]
    assert seeds[4] not in seeds[:4]
    assert answer.usage is not None and answer.usage.prompt_tokens == 1


async def test_vllm_parameters_arrive_at_the_backend() -> None:
    backend = ScriptedBackend()
    extras = {
        "top_k": 5,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "stop_token_ids": [7],
        "ignore_eos": True,
        "min_tokens": 2,
        "skip_special_tokens": False,
        "priority": -3,
    }
    async with openai_client(make_app(backend, generation_defaults={"top_p": 0.5})) as client:
        await client.chat.completions.create(
            model=MODEL,
            messages=HI,
            temperature=0.5,
            logit_bias={"5": -100},
            max_completion_tokens=9,
            extra_body=extras,
        )
    [request] = backend.requests
    params = request.params
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.5, 0.5, 5, 0.1)
    assert (params.repetition_penalty, params.stop_token_ids) == (1.1, (7,))
    assert (params.ignore_eos, params.min_tokens, params.max_tokens) == (True, 2, 9)
    assert (params.skip_special_tokens, dict(params.logit_bias)) == (False, {5: -100.0})
    assert request.priority == -3


async def test_chat_logprobs_name_tokens_bytes_and_alternatives() -> None:
    async with openai_client(make_app()) as client:
        answer = await client.chat.completions.create(
            model=MODEL,
            messages=HI,
            logprobs=True,
            top_logprobs=2,
        )
    assert answer.choices[0].logprobs is not None
    content = answer.choices[0].logprobs.content
    assert content is not None
    joined = b"".join(bytes(entry.bytes or ()) for entry in content)
    assert joined.decode() == REPLY + "<|eos|>"
    assert all(len(entry.top_logprobs) == 2 for entry in content)
    assert content[0].token == "The" and content[0].top_logprobs[0].token == "The"


async def test_completion_logprobs_are_parallel_lists_with_offsets_into_the_text() -> None:
    async with openai_client(make_app()) as client:
        answer = await client.completions.create(model=MODEL, prompt="a", max_tokens=4, logprobs=0)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens == ["The", " quick", " brown", " fox"]
    assert logprobs.text_offset == [0, 3, 9, 15]
    assert logprobs.token_logprobs == [-0.01 * i for i in encode("The quick brown fox")]
    assert logprobs.top_logprobs is not None
    assert [list(top) for top in logprobs.top_logprobs] == [[token] for token in logprobs.tokens]


async def test_token_ids_are_returned_when_asked_for() -> None:
    extra = {"return_token_ids": True}
    async with openai_client(make_app()) as client:
        chat = await client.chat.completions.create(
            model=MODEL,
            messages=HI,
            extra_body=extra,
        )
        completion = await client.completions.create(model=MODEL, prompt="a", extra_body=extra)
    assert chat.choices[0].to_dict()["token_ids"] == [*encode(REPLY), EOS_ID]
    assert chat.to_dict()["prompt_token_ids"] == list(
        encode("<|start|>user\nhi<|end|>\n<|start|>assistant\n")
    )
    assert completion.choices[0].to_dict()["token_ids"] == list(encode(REPLY)[:16])
    assert completion.choices[0].to_dict()["prompt_token_ids"] == list(encode("a"))


async def test_a_stop_string_ends_the_answer_and_cancels_in_the_cluster() -> None:
    backend = ScriptedBackend()
    async with openai_client(make_app(backend)) as client:
        answer = await client.chat.completions.create(
            model=MODEL,
            messages=HI,
            stop=[" jumps ov", "nothing"],
        )
    [choice] = answer.choices
    assert choice.message.content == "The quick brown fox"
    assert choice.finish_reason == "stop"
    assert choice.to_dict()["stop_reason"] == " jumps ov"
    assert backend.num_closed_early == 1


async def test_a_named_stop_token_is_the_stop_reason_and_the_eos_is_not() -> None:
    async with openai_client(make_app()) as client:
        for stop_token_ids, reason in (([EOS_ID], EOS_ID), ([], None)):
            answer = await client.chat.completions.create(
                model=MODEL,
                messages=HI,
                extra_body={"stop_token_ids": stop_token_ids, "skip_special_tokens": False},
            )
            assert answer.choices[0].to_dict()["stop_reason"] == reason
            assert answer.choices[0].message.content == REPLY


async def test_the_timeline_adds_up_to_the_time_to_the_first_token() -> None:
    backend = ScriptedBackend(timeline={"queue": 0.0, "prefill": 0.0, "transfer": 0.5})
    async with http_client(make_app(backend)) as client:
        request = {"model": MODEL, "prompt": "a", "return_timeline": True}
        answer = await client.post("/v1/completions", json=request)
        streamed = await client.post("/v1/completions", json={**request, "stream": True})
    timeline = answer.json()["usage"]["timeline"]
    assert set(timeline) == {"admission", "queue", "prefill", "first_token", "transfer"}
    assert json.loads(answer.headers["x-legato-timeline"]) == timeline
    last = streamed.text.split("\n\n")[-3]
    assert json.loads(last.removeprefix("data: "))["usage"]["timeline"]["transfer"] == 0.5


async def test_requests_share_a_prefix_cache_only_under_one_key_and_one_salt() -> None:
    backend = ScriptedBackend()
    app = make_app(backend, api_keys=["alice", "bob"])
    for key, salt in (("alice", None), ("alice", "x"), ("bob", None), ("alice", None)):
        async with openai_client(app, key) as client:
            extra = {"cache_salt": salt}
            await client.completions.create(model=MODEL, prompt="a", extra_body=extra)
    salts = [request.salt for request in backend.requests]
    assert len(set(salts)) == 3
    assert salts[0] == salts[3] != b""


async def test_without_keys_and_salt_everybody_shares_the_prefix_cache() -> None:
    backend = ScriptedBackend()
    async with openai_client(make_app(backend)) as client:
        await client.completions.create(model=MODEL, prompt="a")
    assert backend.requests[0].salt == b""


async def test_a_prompt_that_fits_no_context_is_refused_by_its_code() -> None:
    backend = ScriptedBackend()
    async with openai_client(make_app(backend)) as client:
        for prompt, max_tokens in (("a " * 400, 1), ("a", 256), ("a" * 1_000_000, 1)):
            with pytest.raises(openai.BadRequestError) as refusal:
                await client.completions.create(model=MODEL, prompt=prompt, max_tokens=max_tokens)
            assert refusal.value.code == "context_length_exceeded"
            assert refusal.value.type == "invalid_request_error"
    assert backend.requests == []


async def test_too_many_sequences_in_one_request_are_refused() -> None:
    async with openai_client(make_app()) as client:
        with pytest.raises(openai.BadRequestError, match="limit of 256"):
            await client.completions.create(model=MODEL, prompt=["a", "b", "c"], n=128)


async def test_the_tokenizer_of_the_tests_knows_every_byte() -> None:
    assert decode(encode(REPLY)) == REPLY
