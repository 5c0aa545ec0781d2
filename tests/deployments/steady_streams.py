"""Clients that ask again and again, while something is changed behind their back.

Every answer must be whole, and token by token the one that its prompt had when nothing happened.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

PROMPTS = [
    f"{i} A long story about a worker that went away" + " in the hills" * i for i in range(4)
]
NUM_TOKENS = 96


@dataclass
class SteadyStreams:
    """One client for each prompt."""

    client: httpx.AsyncClient
    expected: dict[str, list[int]] = field(default_factory=dict)
    num_answers: int = 0
    failures: list[str] = field(default_factory=list)

    async def learn(self) -> None:
        """What each prompt is answered when it is alone."""
        for prompt in PROMPTS:
            self.expected[prompt] = await self._ask(prompt)
            assert len(self.expected[prompt]) == NUM_TOKENS

    async def follow(self, prompt: str) -> None:
        """Asks until it is cancelled."""
        while True:
            try:
                tokens = await self._ask(prompt)
            except (httpx.HTTPError, ValueError) as error:
                self.failures.append(repr(error))
                return
            if tokens != self.expected[prompt]:
                self.failures.append(f"other tokens: {tokens}")
            self.num_answers += 1

    async def _ask(self, prompt: str) -> list[int]:
        body = {
            "prompt": prompt,
            "max_tokens": NUM_TOKENS,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "return_token_ids": True,
        }
        tokens: list[int] = []
        async with self.client.stream("POST", "/v1/completions", json=body) as answer:
            if answer.status_code != 200:
                raise ValueError(f"{answer.status_code}: {(await answer.aread()).decode()}")
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    return tokens
                if line.startswith("data: "):
                    tokens += _token_ids(json.loads(line.removeprefix("data: ")))
        raise ValueError(f"the stream broke off after {len(tokens)} tokens")


def _token_ids(event: dict[str, Any]) -> list[int]:
    if "error" in event:
        raise ValueError(event["error"]["message"])
    return [token for choice in event["choices"] for token in choice.get("token_ids") or ()]


@asynccontextmanager
async def steady_streams(client: httpx.AsyncClient) -> AsyncIterator[SteadyStreams]:
    """Streams run inside; at the end none may have failed."""
    streams = SteadyStreams(client)
    await streams.learn()
    following = [asyncio.create_task(streams.follow(prompt)) for prompt in PROMPTS]
    try:
        yield streams
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    assert streams.failures == [], streams.failures
