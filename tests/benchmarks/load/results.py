"""What was measured, as values that can be written down and read again.

A file of results grows with each part that is done: a run that is cut short keeps what it has.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from legato.tests.benchmarks.load.figures import LoadFigures


@dataclass(frozen=True, slots=True)
class Setup:
    """One way of using the same GPUs."""

    name: str
    num_prefill: int
    num_decode: int
    budget: str = "default"  # tokens of one step

    @property
    def num_workers(self) -> int:
        return self.num_prefill + self.num_decode

    @property
    def is_disaggregated(self) -> bool:
        return self.num_prefill > 0


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """One workload at one rate."""

    setup: Setup
    workload: str
    rate_per_gpu: float
    duration_s: float
    figures: LoadFigures
    facts: dict[str, float]  # what the cluster counted meanwhile


@dataclass(frozen=True, slots=True)
class IdlePoint:
    """Single requests on a cluster that has nothing else to do; times in ms."""

    setup: Setup
    num_prompt_tokens: int
    num_requests: int
    ttft_p50_ms: float
    ttft_p99_ms: float
    second_gap_p50_ms: float  # between the first token and the second
    second_gap_p99_ms: float
    itl_p50_ms: float  # behind the second token
    handed_over_share: float  # in percent
    transfer_gb_per_s: float | None  # median of those that were handed over
    facts: dict[str, float]


@dataclass(frozen=True, slots=True)
class LeakCheck:
    """What was left behind by many requests, some of them abandoned."""

    setup: Setup
    num_requests: int
    num_left: int  # by their clients, before the end
    num_failed: int
    failure: str | None
    seconds: float
    leaked_blocks: dict[str, float]  # by worker, half a minute after the last request
    facts: dict[str, float]


@dataclass(frozen=True, slots=True)
class GreedyAnswers:
    """The same prompts for every setup."""

    setup: Setup
    token_ids: list[list[int]]


@dataclass(frozen=True, slots=True)
class FaultCheck:
    """What clients saw when a worker was killed or stopped under their requests."""

    setup: Setup
    fault: str
    is_hang: bool
    num_requests: int
    num_waiting: int  # without a token when it happened
    num_streaming: int  # some of whose tokens had come by then
    num_equal: int  # token for token to the answers without a fault
    num_failed: int
    failure: str | None
    longest_gap_s: float  # between two tokens of any answer
    longest_ttft_s: float
    replaced_s: float  # from the worker's death until there was another one
    leaked_blocks: dict[str, float]  # by worker, after the last request
    facts: dict[str, float]


@dataclass(slots=True)
class Results:
    """Everything of one run, or of several on the same machine."""

    devices: str
    model: str
    load: list[LoadPoint] = field(default_factory=list)
    idle: list[IdlePoint] = field(default_factory=list)
    leaks: list[LeakCheck] = field(default_factory=list)
    greedy: list[GreedyAnswers] = field(default_factory=list)
    faults: list[FaultCheck] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)  # setups, and why

    @classmethod
    def read(cls, path: Path) -> "Results":
        return msgspec.convert(json.loads(path.read_text()), type=cls)

    @classmethod
    def of_all(cls, paths: Sequence[Path]) -> "Results":
        """What several runs on one kind of machine have left."""
        first, *others = [cls.read(path) for path in paths]
        for other in others:
            for part in ("load", "idle", "leaks", "greedy", "faults", "given_up"):
                getattr(first, part).extend(getattr(other, part))
        return first

    def write(self, path: Path) -> None:
        # The standard library's JSON has a word for what is no number.
        path.write_text(json.dumps(msgspec.to_builtins(self), indent=1))
