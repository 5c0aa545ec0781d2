from typing import Any

import httpx
import openai
import pytest
from starlette.applications import Starlette

from legato.deployments.openai.rate_limits import KeyBudget, RateLimiter, RateLimits
from legato.engine.errors import RateLimitError
from legato.tests.deployments.openai.harness import MODEL, http_client, make_app, openai_client

KEYS = ("first-key", "second-key")


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refusal(budget: KeyBudget, num_tokens: int = 0) -> RateLimitError:
    with pytest.raises(RateLimitError) as refused:
        budget.admit(num_tokens)
    return refused.value


def app_with(clock: Clock, **limits: int) -> Starlette:
    return make_app(api_keys=KEYS, rate_limits=RateLimiter(RateLimits(**limits), clock))


async def complete(app: Starlette, key: str, **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    async with http_client(app, headers=headers) as client:
        return await client.post("/v1/completions", json={"prompt": "a", **body})


def test_requests_come_back_evenly(clock: Clock) -> None:
    budget = RateLimiter(RateLimits(requests_per_minute=3), clock).budget_of(b"")
    for _ in range(3):
        budget.admit(1000)
    assert refusal(budget).retry_after_s == pytest.approx(20)
    clock.now_s += 20.001
    budget.admit(1000)
    refusal(budget)
    clock.now_s += 3600  # no more than a minute's worth is saved up
    for _ in range(3):
        budget.admit(1000)
    refusal(budget)


def test_answers_are_paid_for_afterwards(clock: Clock) -> None:
    budget = RateLimiter(RateLimits(tokens_per_minute=600), clock).budget_of(b"")
    budget.admit(100)
    budget.spend(560)
    assert refusal(budget).retry_after_s == pytest.approx(6.1)
    clock.now_s += 6.2
    budget.admit(0)


def test_a_request_that_is_refused_costs_nothing(clock: Clock) -> None:
    limits = RateLimits(requests_per_minute=2, tokens_per_minute=60)
    budget = RateLimiter(limits, clock).budget_of(b"")
    budget.admit(60)
    refusal(budget)
    clock.now_s += 1.001
    budget.admit(0)


def test_without_limits_nobody_is_refused(clock: Clock) -> None:
    budget = RateLimiter(clock=clock).budget_of(b"")
    for _ in range(100):
        budget.admit(1 << 20)


async def test_a_key_that_has_had_its_share_gets_429_and_the_others_go_on(clock: Clock) -> None:
    app = app_with(clock, requests_per_minute=1)
    assert (await complete(app, KEYS[0])).status_code == 200
    refused = await complete(app, KEYS[0])
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert error["param"] is None
    assert (await complete(app, KEYS[1])).status_code == 200
    async with openai_client(app, KEYS[0]) as client:
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "Hi"}]
            )


async def test_prompts_and_answers_count_as_tokens(clock: Clock) -> None:
    app = app_with(clock, tokens_per_minute=10)
    for stream in (False, True):
        assert (await complete(app, KEYS[0], max_tokens=4, stream=stream)).status_code == 200
    refused = await complete(app, KEYS[0])
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "6")


async def test_a_wrong_request_is_not_counted(clock: Clock) -> None:
    app = app_with(clock, requests_per_minute=1)
    assert (await complete(app, KEYS[0], n=0)).status_code == 400
    assert (await complete(app, KEYS[0])).status_code == 200
