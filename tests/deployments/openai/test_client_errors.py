"""Which of the openai client's exceptions each refusal becomes, and what the client does then."""

import time
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from starlette.applications import Starlette

from legato.deployments.openai.rate_limits import RateLimiter, RateLimits
from legato.deployments.openai.service import Limits
from legato.engine.errors import EngineError, NoWorkerError, OverloadedError
from legato.tests.deployments.openai.harness import (
    MAX_MODEL_LEN,
    MODEL,
    ScriptedBackend,
    http_client,
    make_app,
    make_embedding_app,
    openai_client,
)

MESSAGES: list[Any] = [{"role": "user", "content": "hi"}]
ENDPOINTS: dict[str, Any] = {
    "chat": lambda client, **fields: client.chat.completions.create(
        **{"model": MODEL, "messages": MESSAGES, **fields}
    ),
    "completion": lambda client, **fields: client.completions.create(
        **{"model": MODEL, "prompt": "a", **fields}
    ),
    "response": lambda client, **fields: client.responses.create(
        **{"model": MODEL, "input": "a", **fields}
    ),
    "embedding": lambda client, **fields: client.embeddings.create(
        **{"model": MODEL, "input": "a", **fields}
    ),
}


async def refusal(app: Starlette, endpoint: str, **fields: Any) -> openai.APIStatusError:
    async with openai_client(app) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await ENDPOINTS[endpoint](client, **fields)
    error = refused.value
    assert error.request_id and error.message and error.type
    return error


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_each_status_has_the_clients_class(endpoint: str) -> None:
    wrong = await refusal(make_embedding_app(), endpoint, extra_body={"priority": "high"})
    assert type(wrong) is openai.BadRequestError and wrong.param == "priority"
    unknown = await refusal(make_embedding_app(), endpoint, model="nobody")
    assert type(unknown) is openai.NotFoundError and unknown.code == "model_not_found"
    locked = await refusal(make_embedding_app(api_keys=["key"]), endpoint)
    assert type(locked) is openai.AuthenticationError and locked.code == "invalid_api_key"
    broken = await refusal(
        make_embedding_app(ScriptedBackend(failure=EngineError("it broke"))), endpoint
    )
    assert type(broken) is openai.InternalServerError and broken.type == "server_error"
    small = make_embedding_app(limits=Limits(max_body_bytes=500))
    too_large = await refusal(small, endpoint, extra_body={"user": "x" * 600})
    assert too_large.status_code == 413 and too_large.type == "invalid_request_error"


@pytest.mark.parametrize("endpoint", ["chat", "completion", "response"])
@pytest.mark.parametrize("stream", [False, True])
async def test_no_room_is_a_503_that_says_when_to_come_back(endpoint: str, stream: bool) -> None:
    for reason in (OverloadedError("queues are full"), NoWorkerError("nobody is here")):
        app = make_app(ScriptedBackend(refusal=reason))
        full = await refusal(app, endpoint, stream=stream)
        assert type(full) is openai.InternalServerError and full.status_code == 503
        assert int(full.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_key_that_has_had_its_share_is_a_rate_limit_error(endpoint: str) -> None:
    limiter = RateLimiter(RateLimits(requests_per_minute=1))
    app = make_embedding_app(api_keys=["unused"], rate_limits=limiter)
    async with openai_client(app) as client:
        await ENDPOINTS[endpoint](client)
    limited = await refusal(app, endpoint)
    assert type(limited) is openai.RateLimitError and limited.code == "rate_limit_exceeded"
    assert 1 <= int(limited.response.headers["retry-after"]) <= 60


async def test_a_prompt_that_is_too_long_has_the_code_that_frameworks_look_for() -> None:
    long = "a b " * MAX_MODEL_LEN
    for endpoint, fields in (
        ("chat", {"messages": [{"role": "user", "content": long}]}),
        ("completion", {"prompt": long}),
        ("response", {"input": long}),
        ("embedding", {"input": long}),
    ):
        error = await refusal(make_embedding_app(), endpoint, **fields)
        assert error.code == "context_length_exceeded"


@dataclass
class BusyAtFirst(ScriptedBackend):
    num_refusals: int = 1

    def check_admission(self, num_sequences: int, num_tokens: int) -> None:
        self.num_refusals -= 1
        if self.num_refusals >= 0:
            raise OverloadedError("queues are full")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_client_comes_back_when_it_was_told_to(stream: bool) -> None:
    """By itself it would wait for half a second at most."""
    transport: Any = http_client(make_app(BusyAtFirst()))
    async with openai.AsyncOpenAI(
        base_url="http://test/v1", api_key="unused", http_client=transport, max_retries=1
    ) as client:
        started = time.monotonic()
        answer: Any = await client.completions.create(model=MODEL, prompt="a", stream=stream)
        assert time.monotonic() - started >= 1
        if stream:
            assert "".join([chunk.choices[0].text async for chunk in answer])
        else:
            assert answer.choices[0].text


async def test_an_error_after_the_first_token_is_raised_from_the_stream() -> None:
    backend = ScriptedBackend(failure=EngineError("it broke"), tokens_before_failure=3)
    async with openai_client(make_app(backend)) as client:
        stream = await client.completions.create(model=MODEL, prompt="a", stream=True)
        texts = []
        with pytest.raises(openai.APIError, match="it broke"):
            async for chunk in stream:
                texts.append(chunk.choices[0].text)
    assert "".join(texts)
