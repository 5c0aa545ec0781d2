"""Sizes of steps; that graphs compute the same is shown by test_engine_on_gpu.py."""

from typing import cast

import torch

from legato.engine.load_progress import LoadProgress
from legato.engine.step_graphs import StepGraphs
from legato.engine.step_halves import BodySize, StepHalves
from legato.engine.step_state import StepLimits, StepShape

POOL = torch.empty(0)
LIMITS = StepLimits(max_num_seqs=16, max_num_batched_tokens=4096, max_blocks=4, vocab_size=10)


class Recorder:
    """Notes which halves are run."""

    are_capturable = False

    def __init__(self) -> None:
        self.bodies: list[BodySize] = []
        self.tails: list[int] = []

    def body(self, size: BodySize, kv_pool: torch.Tensor) -> None:
        self.bodies.append(size)

    def tail(self, num_samples: int) -> None:
        self.tails.append(num_samples)


def graphs() -> tuple[StepGraphs, Recorder]:
    recorder = Recorder()
    return StepGraphs(cast(StepHalves, recorder), LIMITS), recorder


def test_without_graphs_steps_run_at_their_own_size() -> None:
    steps, ran = graphs()
    steps.body(StepShape(num_tokens=3, num_sequences=3, num_samples=3, is_decode=True), POOL)
    steps.body(StepShape(num_tokens=50, num_sequences=4, num_samples=2, is_decode=False), POOL)
    steps.tail(3)
    assert [(size.num_tokens, size.num_samples) for size in ran.bodies] == [(3, 3), (50, 2)]
    assert ran.tails == [3]


def test_large_steps_have_as_many_sequences_as_when_they_were_compiled() -> None:
    steps, ran = graphs()
    reports: list[LoadProgress] = []
    steps.warm_up_large(POOL, reports.append)
    assert [size.num_tokens for size in ran.bodies] == [3072, 4096]
    assert (reports[-1].done, reports[-1].total) == (2, 2)
    warmed_up = {size.num_sequences for size in ran.bodies}
    steps.body(StepShape(3500, num_sequences=5, num_samples=5, is_decode=False), POOL)
    assert {ran.bodies[-1].num_sequences} == warmed_up


def test_every_size_that_will_be_captured_is_warmed_up() -> None:
    steps, ran = graphs()
    steps.warm_up(POOL, lambda _: None)
    decode = [size.num_tokens for size in ran.bodies if size.is_decode]
    assert decode == [16, 8, 4, 2, 1]
    assert ran.tails == [16, 8, 4, 2, 1]
    prefill = [size.num_tokens for size in ran.bodies if not size.is_decode]
    assert prefill == sorted(prefill, reverse=True)
    assert prefill[0] == 2048


def test_halves_that_no_graph_can_hold_run_at_the_sizes_that_were_warmed_up() -> None:
    steps, ran = graphs()
    steps.warm_up(POOL, lambda _: None)
    warmed_up = list(ran.bodies)
    steps.capture(POOL, lambda _: None)
    assert ran.bodies == warmed_up
    steps.body(StepShape(num_tokens=3, num_sequences=3, num_samples=3, is_decode=True), POOL)
    steps.body(StepShape(num_tokens=50, num_sequences=4, num_samples=2, is_decode=False), POOL)
    decode, prefill = ran.bodies[len(warmed_up) :]
    assert decode == BodySize.of_decode(4)
    assert prefill.num_tokens >= 50 and prefill in warmed_up
