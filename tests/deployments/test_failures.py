"""Workers that are killed while they serve, as seen through HTTP and /metrics."""

import asyncio
import os
import signal
from typing import Any

import pytest

from legato.tests.deployments.server import Server, until

PROMPTS = [f"{i} A long story about a worker that was lost" + " in the hills" * i for i in range(4)]
REPLACED_S = 30.0
# The engines report a few times a second, which costs little; a generating one is busy all along.
BUSY_SHARE = 3.0


async def _stream(server: Server, prompt: str, seen: list[int]) -> None:
    """Appends the tokens of a long greedy answer to `seen` as they arrive."""
    limit = server.model()["max_model_len"]
    async with server.async_client() as client:
        stream = await client.completions.create(
            model=server.model()["id"],
            prompt=prompt,
            max_tokens=limit // 2,
            temperature=0,
            stream=True,
            extra_body={"ignore_eos": True, "return_token_ids": True},
        )
        async for chunk in stream:
            extra: dict[str, Any] = chunk.choices[0].model_extra or {}
            seen += extra.get("token_ids") or ()


async def _stream_all(server: Server) -> list[list[int]]:
    answers: list[list[int]] = [[] for _ in PROMPTS]
    await asyncio.gather(
        *(_stream(server, prompt, seen) for prompt, seen in zip(PROMPTS, answers, strict=True))
    )
    return answers


async def _has(answers: list[list[int]], num_tokens: int) -> None:
    async with asyncio.timeout(30):
        while min(map(len, answers)) < num_tokens:
            await asyncio.sleep(0.005)


def _busiest_first(before: dict[int, float], server: Server) -> list[int]:
    """The engines' process ids; the one that generates has used the most processor time."""
    used = {pid: one.cpu_s - before[pid] for pid, one in server.engines().items()}
    first, second = sorted(used, key=lambda pid: -used[pid])
    assert used[first] > BUSY_SHARE * used[second], used
    return [first, second]


@pytest.mark.parametrize("role", ["decode", "prefill"])
async def test_a_killed_worker_costs_no_token_and_is_replaced(server: Server, role: str) -> None:
    expected = await _stream_all(server)
    workers = set(server.gauge("vllm:num_requests_running"))
    assert len(workers) == 2
    failovers = server.total("legato_failovers_total")

    answers: list[list[int]] = [[] for _ in PROMPTS]
    following = [
        asyncio.create_task(_stream(server, prompt, seen))
        for prompt, seen in zip(PROMPTS, answers, strict=True)
    ]
    await _has(answers, 1)
    before = {pid: one.cpu_s for pid, one in server.engines().items()}
    await _has(answers, len(expected[0]) // 3)
    decode, prefill = _busiest_first(before, server)
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


async def test_a_worker_that_hangs_is_left_and_answers_go_on(server: Server) -> None:
    """Stopped, not dead: its connections stay open and nothing says that it is gone."""
    expected = await _stream_all(server)
    answers: list[list[int]] = [[] for _ in PROMPTS]
    following = [
        asyncio.create_task(_stream(server, prompt, seen))
        for prompt, seen in zip(PROMPTS, answers, strict=True)
    ]
    await _has(answers, 1)
    before = {pid: one.cpu_s for pid, one in server.engines().items()}
    await _has(answers, len(expected[0]) // 3)
    decode, _ = _busiest_first(before, server)
    os.kill(decode, signal.SIGSTOP)
    try:
        async with asyncio.timeout(45):
            await asyncio.gather(*following)
        assert answers == expected
    finally:
        os.kill(decode, signal.SIGKILL)
    await asyncio.to_thread(server.wait_until_idle, 2, REPLACED_S)
