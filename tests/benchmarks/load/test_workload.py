"""Requests are what the workload says, and the same for every setup."""

import json
import statistics
from itertools import pairwise

from legato.tests.benchmarks.load.workload import (
    LONG,
    MIXED,
    LoadRequest,
    Workload,
    one_by_one,
    open_loop,
    saturated,
)

TINY = Workload("tiny", (4, 8), (2, 3))


def test_the_same_seed_gives_the_same_requests() -> None:
    first, again = (open_loop(LONG, 6, 30, seed=5) for _ in range(2))
    assert first == again
    assert first != open_loop(LONG, 6, 30, seed=6)
    assert first[0].prompt(1000) == again[0].prompt(1000)


def test_no_load_has_the_prompts_of_another() -> None:
    loads = [
        open_loop(LONG, 3, 60, seed=1),
        open_loop(LONG, 3.5, 60, seed=1),
        open_loop(TINY, 3, 60, seed=1),
        saturated(LONG, 50, 0, 0, seed=1),
        saturated(TINY, 50, 0, 0, seed=1),
        one_by_one(50, 100, 8, seed=1),
        one_by_one(50, 200, 8, seed=1),
    ]
    seeds = [request.seed for load in loads for request in load]
    assert len(set(seeds)) == len(seeds)


def test_arrivals_are_a_poisson_process_of_the_rate() -> None:
    due = [one.due_s for one in open_loop(TINY, 50, 200, seed=1) if one.due_s is not None]
    assert due == sorted(due)
    assert due[-1] < 200
    gaps = [after - before for before, after in pairwise(due)]
    assert abs(len(due) - 10_000) < 400
    assert abs(statistics.pstdev(gaps) / statistics.mean(gaps) - 1) < 0.05  # as exponential ones


def test_lengths_lie_between_the_bounds_and_reach_them() -> None:
    requests = open_loop(TINY, 50, 20, seed=1)
    assert {one.num_prompt_tokens for one in requests} == {4, 5, 6, 7, 8}
    assert {one.num_output_tokens for one in requests} == {2, 3}


def test_a_scaled_workload_keeps_its_proportions() -> None:
    assert LONG.scaled(0.05) == Workload("L", (100, 300), (5, 15))
    assert TINY.scaled(0.1).prompt_tokens == (2, 2)


def test_a_body_asks_for_a_greedy_stream_of_full_length() -> None:
    body = json.loads(LoadRequest(seed=1, num_prompt_tokens=50, num_output_tokens=7).body(2048))
    assert len(body["prompt"]) == 50
    assert all(300 <= token < 2048 for token in body["prompt"])
    assert (body["max_tokens"], body["temperature"], body["stream"]) == (7, 0, True)
    assert body["ignore_eos"] is True


def test_prompts_fit_a_vocabulary_that_is_smaller_than_usual() -> None:
    assert all(5 <= token < 10 for token in LoadRequest(1, 40, 1).prompt(10))


def test_one_in_five_clients_leaves_at_a_random_moment() -> None:
    requests = saturated(MIXED, 5000, 0.2, 1.5, seed=3)
    stays = [one.leaves_after_s for one in requests if one.leaves_after_s is not None]
    assert abs(len(stays) - 1000) < 100
    assert 0 <= min(stays) < 0.05 < 1.4 < max(stays) <= 1.5
    assert all(one.due_s is None for one in requests)
    left = [one for one in requests if one.leaves_after_s is not None]
    assert min(one.num_output_tokens for one in left) > 64  # they would not end by themselves


def test_single_requests_have_one_length_and_prompts_of_their_own() -> None:
    requests = one_by_one(5, 100, 8, seed=1)
    assert {(one.num_prompt_tokens, one.num_output_tokens) for one in requests} == {(100, 8)}
    assert len({one.seed for one in requests}) == 5


def test_further_fields_of_a_body_win() -> None:
    request = LoadRequest(1, 4, 2, fields={"temperature": 0.5, "cache_salt": "x"})
    body = json.loads(request.body(1000))
    assert (body["temperature"], body["cache_salt"], body["max_tokens"]) == (0.5, "x", 2)
