"""Echoes and what is known of a prompt, streamed and not."""

from typing import Any

import pytest

from legato.tests.deployments.openai.harness import (
    MODEL,
    ScriptedBackend,
    decode,
    encode,
    http_client,
    logprobs_of,
    make_app,
    openai_client,
)

PROMPT = "The quick brown fox"
IDS = list(encode(PROMPT))


async def complete(backend: ScriptedBackend | None = None, **body: Any) -> dict[str, Any]:
    async with http_client(make_app(backend)) as client:
        answer = await client.post("/v1/completions", json={"prompt": PROMPT, **body})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


@pytest.mark.parametrize("prompt", [PROMPT, IDS])
async def test_an_echo_has_the_log_probabilities_of_the_prompt_too(prompt: Any) -> None:
    backend = ScriptedBackend()
    answer = await complete(backend, prompt=prompt, echo=True, logprobs=2, max_tokens=3)
    (choice,) = answer["choices"]
    logprobs = choice["logprobs"]
    assert choice["text"] == PROMPT + decode(backend.reply[:3])
    assert "".join(logprobs["tokens"]) == choice["text"]
    assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
    expected = [*IDS[1:], *backend.reply[:3]]
    assert logprobs["token_logprobs"][1:] == pytest.approx([-0.01 * i for i in expected])
    assert all(len(top) == 2 for top in logprobs["top_logprobs"][1:])
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        assert choice["text"].startswith(token, offset)


async def test_an_echo_may_be_all_that_is_wanted() -> None:
    body: dict[str, Any] = {"echo": True, "logprobs": 1, "max_tokens": 0}
    answer = await complete(**body)
    (choice,) = answer["choices"]
    assert (choice["text"], choice["finish_reason"]) == (PROMPT, "length")
    assert len(choice["logprobs"]["tokens"]) == len(IDS)
    assert answer["usage"]["completion_tokens"] == 0


async def test_a_streamed_echo_is_the_same_in_pieces() -> None:
    for prompt, max_tokens in ((PROMPT, 3), (PROMPT, 0), (IDS[:1], 0), (IDS[:1], 2)):
        body: dict[str, Any] = {"echo": True, "logprobs": 1, "n": 2, "max_tokens": max_tokens}
        whole = await complete(prompt=prompt, **body)
        async with openai_client(make_app()) as client:
            stream = await client.completions.create(
                model=MODEL, prompt=prompt, stream=True, **body
            )
            chunks = [choice async for chunk in stream for choice in chunk.choices]
        for choice in whole["choices"]:
            pieces = [piece for piece in chunks if piece.index == choice["index"]]
            assert "".join(piece.text for piece in pieces) == choice["text"]
            told = [piece.logprobs for piece in pieces if piece.logprobs is not None]
            for name, values in choice["logprobs"].items():
                assert [value for one in told for value in getattr(one, name) or ()] == values


async def test_prompt_logprobs_are_told_by_token_id() -> None:
    backend = ScriptedBackend()
    answer = await complete(backend, prompt_logprobs=1, n=2, max_tokens=2)
    for choice in answer["choices"]:
        assert choice["prompt_logprobs"][0] is None
        for token_id, told in zip(IDS[1:], choice["prompt_logprobs"][1:], strict=True):
            assert list(told) == [str(token_id)]
            assert told[str(token_id)]["logprob"] == pytest.approx(-0.01 * token_id)
            assert told[str(token_id)]["decoded_token"] == decode([token_id])
            assert told[str(token_id)]["rank"] == 1
    asked = [request.params.prompt_logprobs for request in backend.requests]
    assert sorted(asked, key=str) == [1, None]  # computed once for both


async def test_what_nobody_asked_for_is_not_there() -> None:
    bodies: list[dict[str, Any]] = [{}, {"echo": True, "logprobs": 1}]
    for body in bodies:
        assert "prompt_logprobs" not in (await complete(**body))["choices"][0]


async def test_a_chat_tells_its_prompts_log_probabilities_beside_its_choices() -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "prompt_logprobs": 0, "n": 2}
    backend = ScriptedBackend()
    async with http_client(make_app(backend)) as client:
        answer = (await client.post("/v1/chat/completions", json=body)).json()
    told = answer["prompt_logprobs"]
    assert len(told) == len(backend.requests[0].prompt_token_ids)
    assert told[0] is None


async def test_tokens_can_be_told_by_their_ids() -> None:
    answer = await complete(echo=True, logprobs=2, max_tokens=2, return_tokens_as_token_ids=True)
    logprobs = answer["choices"][0]["logprobs"]
    assert logprobs["tokens"][: len(IDS)] == [f"token_id:{token_id}" for token_id in IDS]
    expected = {f"token_id:{i}": value for i, value in logprobs_of(IDS[1], 2).top}
    assert logprobs["top_logprobs"][1] == pytest.approx(expected)
    plain = await complete(echo=True, logprobs=2, max_tokens=2)
    assert logprobs["text_offset"] == plain["choices"][0]["logprobs"]["text_offset"]
