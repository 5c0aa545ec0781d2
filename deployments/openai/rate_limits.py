"""How much each client may ask of a router in a minute: each API key, or each user of it.

    requests   |■■■■■■■■■░|  one is taken when a request is let in
    tokens     |■■■■░░░░░░|  the prompt's are taken then, the answer's as they come: may go below 0

A bucket holds a minute's worth and fills evenly, so nobody waits for a minute to begin. What an
answer will cost is not known beforehand: it is let in while anything is left, and paid for after.
Each router counts by itself. Clients are told apart as auth.py says; without keys and users, all
share one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from legato.engine.errors import RateLimitError

_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Of each client; None: as much as it likes."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None  # of prompts and answers together


class _Bucket:
    def __init__(self, per_minute: int, now_s: float) -> None:
        self._capacity = float(per_minute)
        self._left = self._capacity
        self._as_of_s = now_s

    def fill(self, now_s: float) -> None:
        gained = (now_s - self._as_of_s) * self._capacity / _MINUTE_S
        self._left = min(self._left + gained, self._capacity)
        self._as_of_s = now_s

    def take(self, number: int) -> None:
        self._left -= number

    @property
    def wait_s(self) -> float:
        """Until there is one to take."""
        return max(1.0 - self._left, 0.0) * _MINUTE_S / self._capacity


class KeyBudget:
    """What one client has left; requests under way hold it to pay for their answers."""

    def __init__(self, limits: RateLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._requests = _bucket(limits.requests_per_minute, clock())
        self._tokens = _bucket(limits.tokens_per_minute, clock())

    def admit(self, num_prompt_tokens: int) -> None:
        """Takes a request and its prompts, or nothing.

        Raises:
            RateLimitError: a limit is reached; it says when to come again.
        """
        limits = self._limits
        buckets = (
            (self._requests, f"{limits.requests_per_minute} requests"),
            (self._tokens, f"{limits.tokens_per_minute} tokens"),
        )
        for bucket, limit in buckets:
            if bucket is None:
                continue
            bucket.fill(self._clock())
            if bucket.wait_s > 0:
                raise RateLimitError(f"the limit is {limit} a minute for each key", bucket.wait_s)
        if self._requests is not None:
            self._requests.take(1)
        self.spend(num_prompt_tokens)

    def spend(self, num_tokens: int) -> None:
        """Takes tokens that are there already, whether or not any are left."""
        if self._tokens is not None:
            self._tokens.take(num_tokens)


class RateLimiter:
    """Knows every client's budget."""

    def __init__(
        self, limits: RateLimits | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits or RateLimits()
        self._clock = clock
        self._budgets: dict[bytes, KeyBudget] = {}  # by tenant: few keys, or people known by name

    def budget_of(self, tenant: bytes) -> KeyBudget:
        """The same for all requests of a client."""
        budget = self._budgets.get(tenant)
        if budget is None:
            budget = self._budgets[tenant] = KeyBudget(self._limits, self._clock)
        return budget


def _bucket(per_minute: int | None, now_s: float) -> _Bucket | None:
    return None if per_minute is None else _Bucket(per_minute, now_s)
