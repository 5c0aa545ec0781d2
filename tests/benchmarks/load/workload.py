"""What is sent and when: seeded, so that every setup gets the same requests at the same times.

    open loop     Poisson arrivals; nobody waits for an answer before sending
    one by one    a pause, a request, its whole answer, a pause, ...
    saturated     so many at any time; some clients leave at a random moment

A prompt is drawn from its own seed, and only where it is sent: requests stay small.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

FIRST_PROMPT_TOKEN = 300  # below are bytes and special tokens


@dataclass(frozen=True, slots=True)
class Workload:
    """Lengths in tokens, each uniform between two bounds."""

    name: str
    prompt_tokens: tuple[int, int]
    output_tokens: tuple[int, int]

    def scaled(self, factor: float) -> "Workload":
        """The same with lengths times `factor`, at least two tokens each."""
        prompt, output = (
            (max(2, round(low * factor)), max(2, round(high * factor)))
            for low, high in (self.prompt_tokens, self.output_tokens)
        )
        return Workload(self.name, prompt, output)


LONG = Workload("L", (2000, 6000), (100, 300))
SHORT = Workload("S", (200, 1500), (100, 300))
# Of the leak test: from a part of a block to some blocks.
MIXED = Workload("mixed", (8, 400), (1, 64))
_LEFT_OUTPUT_TOKENS = 1500  # of a request that is left: it would not be over before


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """One completion; times are seconds from the start of its schedule."""

    seed: int  # of its prompt
    num_prompt_tokens: int
    num_output_tokens: int
    due_s: float | None = None  # None: when its turn comes
    leaves_after_s: float | None = None  # from sending; None: the client stays to the end
    with_timeline: bool = False  # asks for the server's own times
    with_token_ids: bool = False
    fields: Mapping[str, object] = field(default_factory=dict)  # others of the body, which win

    def prompt(self, vocab_size: int) -> list[int]:
        """Random token ids; no two requests share a block."""
        rng = random.Random(self.seed)
        first = min(FIRST_PROMPT_TOKEN, vocab_size // 2)
        return rng.choices(range(first, vocab_size), k=self.num_prompt_tokens)

    def body(self, vocab_size: int) -> bytes:
        """Of POST /v1/completions: streamed, to its full length; greedy if `fields` do not say."""
        fields: dict[str, object] = {
            "prompt": self.prompt(vocab_size),
            "max_tokens": self.num_output_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "skip_special_tokens": False,  # a token without a text would not be seen
            "stream": True,
        }
        if self.with_timeline:
            fields["return_timeline"] = True
        if self.with_token_ids:
            fields["return_token_ids"] = True
        return json.dumps({**fields, **self.fields}, separators=(",", ":")).encode()


def open_loop(
    workload: Workload, rate_per_s: float, duration_s: float, seed: int
) -> list[LoadRequest]:
    """Requests whose arrivals are a Poisson process of `rate_per_s`."""
    rng = _generator(seed, "open loop", workload.name, rate_per_s)
    requests: list[LoadRequest] = []
    due_s = rng.expovariate(rate_per_s)
    while due_s < duration_s:
        requests.append(_draw(workload, rng, due_s))
        due_s += rng.expovariate(rate_per_s)
    return requests


def one_by_one(
    num_requests: int, num_prompt_tokens: int, num_output_tokens: int, seed: int
) -> list[LoadRequest]:
    """Equal requests that ask for the server's times as well."""
    rng = _generator(seed, "one by one", num_prompt_tokens)
    return [
        LoadRequest(rng.getrandbits(48), num_prompt_tokens, num_output_tokens, with_timeline=True)
        for _ in range(num_requests)
    ]


def saturated(
    workload: Workload, num_requests: int, leave_share: float, longest_stay_s: float, seed: int
) -> list[LoadRequest]:
    """Requests of which a share is left by its client within `longest_stay_s` of sending."""
    rng = _generator(seed, "saturated", workload.name)
    requests = []
    for _ in range(num_requests):
        leaves = rng.random() < leave_share
        stay_s = rng.uniform(0, longest_stay_s) if leaves else None
        request = _draw(workload, rng, None, stay_s)
        requests.append(
            replace(request, num_output_tokens=_LEFT_OUTPUT_TOKENS) if leaves else request
        )
    return requests


def _generator(seed: int, *load: object) -> random.Random:
    """For one load: another one must not find its prompts in the prefix cache."""
    return random.Random(f"{seed} {load}")


def _draw(
    workload: Workload,
    rng: random.Random,
    due_s: float | None,
    leaves_after_s: float | None = None,
) -> LoadRequest:
    return LoadRequest(
        seed=rng.getrandbits(48),
        num_prompt_tokens=rng.randint(*workload.prompt_tokens),
        num_output_tokens=rng.randint(*workload.output_tokens),
        due_s=due_s,
        leaves_after_s=leaves_after_s,
    )
