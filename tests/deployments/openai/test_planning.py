"""What the fields of a request become before a worker sees them."""

from typing import Any

import pytest

from legato.tests.deployments.openai.harness import (
    EOS_ID,
    ScriptedBackend,
    decode,
    encode,
    http_client,
    make_app,
)

PROMPT = "The quick brown fox"
IDS = encode(PROMPT)
TALK = [{"role": "user", "content": "Hi"}]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


async def post(path: str, **body: Any) -> tuple[int, dict[str, Any], ScriptedBackend]:
    backend = ScriptedBackend()
    given = {"prompt": PROMPT} if path == COMPLETIONS else {"messages": TALK}
    async with http_client(make_app(backend)) as client:
        answer = await client.post(path, json=given | body)
    return answer.status_code, answer.json(), backend


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_lists_of_tokens_and_words_reach_the_workers(path: str) -> None:
    body = {"allowed_token_ids": [5, 6, EOS_ID], "bad_words": ["fox"], "max_tokens": 2}
    status, _, backend = await post(path, **body)
    assert status == 200
    params = backend.requests[0].params
    assert params.allowed_token_ids == (5, 6, EOS_ID)
    assert set(params.bad_words_token_ids) == {encode("fox"), encode(" fox")}


async def test_a_prompt_is_cut_and_so_is_its_echo() -> None:
    status, answer, backend = await post(
        COMPLETIONS, truncate_prompt_tokens=2, echo=True, max_tokens=1, return_token_ids=True
    )
    assert status == 200
    assert backend.requests[0].prompt_token_ids == IDS[-2:]
    assert answer["choices"][0]["prompt_token_ids"] == list(IDS[-2:])
    assert answer["choices"][0]["text"].startswith(decode(IDS[-2:]))
    assert answer["usage"]["prompt_tokens"] == 2
    _, _, chat = await post(CHAT, truncate_prompt_tokens=3, truncation_side="right")
    _, _, plain = await post(CHAT)
    assert chat.requests[0].prompt_token_ids == plain.requests[0].prompt_token_ids[:3]


async def test_the_effort_of_reasoning_is_the_templates_business() -> None:
    kwargs = {"mood": "happy"}
    _, _, with_kwargs = await post(CHAT, chat_template_kwargs=kwargs, reasoning_effort="high")
    _, _, without = await post(CHAT, chat_template_kwargs=kwargs)
    assert with_kwargs.requests[0].prompt_token_ids == without.requests[0].prompt_token_ids


async def test_what_cannot_change_the_answer_is_ignored() -> None:
    ignored = {
        "user": "me", "metadata": {"a": "b"}, "store": True, "service_tier": "auto",
        "prompt_cache_key": "k", "safety_identifier": "s", "prediction": {"type": "content"},
        "verbosity": "low", "length_penalty": 1.0, "spaces_between_special_tokens": False,
        "session_id": "s", "stream_interval": 3, "media_io_kwargs": {}, "suffix": "",
        "best_of": 1, "use_beam_search": False, "echo": False, "return_prompt_text": False,
    }  # fmt: skip
    for path in (CHAT, COMPLETIONS):
        status, _, backend = await post(path, seed=1, max_tokens=4, **ignored)
        _, _, plain = await post(path, seed=1, max_tokens=4)
        assert status == 200
        assert backend.requests == plain.requests


@pytest.mark.parametrize(
    "body",
    [
        {"audio": {"voice": "x"}},
        {"best_of": 2},
        {"chat_template": "x"},
        {"function_call": {"name": "x"}},
        {"functions": [{"name": "x"}]},
        {"kv_transfer_params": {}},
        {"logits_processors": ["x"]},
        {"modalities": ["audio"]},
        {"moderation": {"model": "x"}},
        {"prompt_embeds": "x"},
        {"repetition_detection": {"max": 1}},
        {"request_id": "x"},
        {"suffix": "x"},
        {"thinking_token_budget": 5},
        {"use_beam_search": True},
        {"vllm_xargs": {"a": 1}},
        {"web_search_options": {"a": 1}},
    ],
    ids=lambda body: next(iter(body)),
)
async def test_what_cannot_be_done_is_refused_by_its_name(body: dict[str, Any]) -> None:
    for path in (CHAT, COMPLETIONS):
        status, answer, backend = await post(path, **body)
        assert (status, answer["error"]["param"]) == (400, next(iter(body)))
        assert backend.requests == []


async def test_so_many_prompt_logprobs_that_nobody_could_read_them_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("legato.engine.limits.MAX_PROMPT_LOGPROBS", 3 * len(IDS))
    assert (await post(COMPLETIONS, prompt_logprobs=2))[0] == 200
    status, answer, _ = await post(COMPLETIONS, prompt_logprobs=3)
    assert (status, answer["error"]["param"]) == (400, "prompt_logprobs")
