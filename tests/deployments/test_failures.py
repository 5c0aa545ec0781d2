"""Workers that are killed while they serve, as seen through HTTP and /metrics."""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

import httpx
import openai
import pytest

from legato.tests.deployments.server import Server, until

PROMPTS = [f"{i} A long story about a worker that was lost" + " in the hills" * i for i in range(4)]
REPLACED_S = 30.0
ROUTER = "ray::ServeReplica:legato:router"  # in its process's title
# The engines report a few times a second, which costs little; a generating one is busy all along.
BUSY_SHARE = 3.0
NUM_WATCHED = 100  # tokens of each answer
GREEDY: dict[str, Any] = {
    "max_tokens": 1000,
    "temperature": 0,
    # Behind its end the model writes special tokens: without a text they would not be sent.
    "extra_body": {"ignore_eos": True, "return_token_ids": True, "skip_special_tokens": False},
}


@pytest.fixture(scope="module")
def expected(server: Server) -> list[list[int]]:
    """The answers to PROMPTS while nobody is killed."""
    with server.client() as client:
        answer = client.completions.create(model=server.model()["id"], prompt=PROMPTS, **GREEDY)
    return [_token_ids(choice) for choice in answer.choices]


def _token_ids(choice: Any) -> list[int]:
    return list(choice.model_extra.get("token_ids") or ())


async def _stream(server: Server, prompt: str, seen: list[int]) -> None:
    """Appends the tokens of a long greedy answer to `seen` as they arrive."""
    async with server.async_client() as client:
        stream = await client.completions.create(
            model=server.model()["id"], prompt=prompt, stream=True, **GREEDY
        )
        async for chunk in stream:
            seen += _token_ids(chunk.choices[0])


def _begin_streams(server: Server) -> tuple[list[list[int]], list[asyncio.Task[None]]]:
    """The answers to PROMPTS, which grow, and the tasks that end with them."""
    answers: list[list[int]] = [[] for _ in PROMPTS]
    following = [
        asyncio.create_task(_stream(server, prompt, seen))
        for prompt, seen in zip(PROMPTS, answers, strict=True)
    ]
    return answers, following


async def _stream_all(server: Server) -> list[list[int]]:
    answers, following = _begin_streams(server)
    await asyncio.gather(*following)
    return answers


async def _has(answers: list[list[int]], num_tokens: int) -> None:
    async with asyncio.timeout(30):
        while min(map(len, answers)) < num_tokens:
            await asyncio.sleep(0.005)


async def _engines(server: Server, answers: list[list[int]]) -> tuple[int, int]:
    """The process ids of the decode and the prefill worker's engines, while all sequences decode.

    The one that generates uses the most processor time, once all sequences have come to it.
    """

    def is_handed_over() -> bool:
        running = server.gauge("vllm:num_requests_running")
        return all(
            num == (len(PROMPTS) if ":decode:" in worker else 0) for worker, num in running.items()
        )

    await asyncio.to_thread(until, is_handed_over, 30, "all sequences are handed over")
    before = {pid: one.cpu_s for pid, one in server.engines().items()}
    await _has(answers, max(map(len, answers)) + NUM_WATCHED)
    used = {pid: one.cpu_s - before[pid] for pid, one in server.engines().items()}
    decode, prefill = sorted(used, key=lambda pid: -used[pid])
    assert used[decode] > BUSY_SHARE * used[prefill], used
    return decode, prefill


@pytest.mark.parametrize("role", ["decode", "prefill"])
async def test_a_killed_worker_costs_no_token_and_is_replaced(
    server: Server, expected: list[list[int]], role: str
) -> None:
    workers = set(server.gauge("vllm:num_requests_running"))
    assert len(workers) == 2
    failovers = server.total("legato_failovers_total")

    answers, following = _begin_streams(server)
    decode, prefill = await _engines(server, answers)
    os.kill(decode if role == "decode" else prefill, signal.SIGKILL)
    assert not all(task.done() for task in following)
    await asyncio.gather(*following)

    assert answers == expected
    if role == "decode":
        assert server.total("legato_failovers_total") > failovers

    def is_replaced() -> bool:
        now = set(server.gauge("vllm:num_requests_running"))
        return len(now) == 2 and now != workers

    await asyncio.to_thread(until, is_replaced, REPLACED_S, "the lost worker is replaced")
    (lost,) = workers - set(server.gauge("vllm:num_requests_running"))
    assert f":{role}:" in lost
    await asyncio.to_thread(server.wait_until_idle)
    assert await _stream_all(server) == expected
    await asyncio.to_thread(server.wait_until_idle)


async def test_a_worker_that_hangs_is_left_and_answers_go_on(
    server: Server, expected: list[list[int]]
) -> None:
    """Stopped, not dead: its connections stay open and nothing says that it is gone."""
    answers, following = _begin_streams(server)
    decode, _ = await _engines(server, answers)
    os.kill(decode, signal.SIGSTOP)
    try:
        async with asyncio.timeout(45):
            await asyncio.gather(*following)
        assert answers == expected
    finally:
        os.kill(decode, signal.SIGKILL)
    await asyncio.to_thread(server.wait_until_idle, 2, REPLACED_S)


async def test_a_killed_router_breaks_its_streams_clearly_and_another_one_serves(
    server: Server, expected: list[list[int]]
) -> None:
    answers, following = _begin_streams(server)
    await _has(answers, 10)
    (router,) = (one.pid for one in server.processes() if ROUTER in one.command)
    os.kill(router, signal.SIGKILL)
    async with asyncio.timeout(10):
        ends = await asyncio.gather(*following, return_exceptions=True)
    for end, seen, whole in zip(ends, answers, expected, strict=True):
        assert seen == whole[: len(seen)]
        assert isinstance(end, httpx.HTTPError | openai.APIError) or seen == whole

    def is_back() -> bool:
        with suppress(httpx.HTTPError):
            return server.get("/ready").status_code == 200
        return False

    await asyncio.to_thread(until, is_back, REPLACED_S, "another router serves")
    await asyncio.to_thread(server.wait_until_idle)  # nobody generates for a router that is gone
    assert await _stream_all(server) == expected
    await asyncio.to_thread(server.wait_until_idle)
