"""Where a request goes: idle and busy workers, short and long prompts, cached prefixes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.cluster.placement import Decision, Demand, Placement, Role, WorkerLoad, place

P = WorkerLoad(
    worker="p",
    role=Role.PREFILL,
    num_queued_prefill_tokens=0,
    num_running=0,
    num_free_blocks=1000,
    num_total_blocks=1000,
    block_size=16,
    bytes_per_block=1 << 20,
    prefill_tokens_per_s=10_000.0,
    step_time_s=0.01,
    transfer_bytes_per_s=10e9,
    num_cached_tokens=0,
)
D = replace(P, worker="d", role=Role.DECODE)
SHORT = Demand(num_prompt_tokens=20)
LONG = Demand(num_prompt_tokens=8000)


def placed(demand: Demand, *workers: WorkerLoad) -> Placement:
    placement = place(demand, workers)
    assert placement is not None
    return placement


def test_nobody_is_nowhere() -> None:
    assert place(SHORT, []) is None


def test_a_short_prompt_is_computed_where_it_is_decoded() -> None:
    placement = placed(SHORT, P, D)
    assert (placement.decision, placement.prefill, placement.decode) == (Decision.LOCAL, None, "d")


def test_a_long_prompt_is_computed_by_the_prefill_worker() -> None:
    placement = placed(LONG, P, D)
    assert placement.decision is Decision.DISAGGREGATED
    assert (placement.prefill, placement.decode) == ("p", "d")
    assert placement.predicted_ttft_s == pytest.approx(0.8)


def test_a_long_prompt_that_the_decode_worker_has_cached_stays_there() -> None:
    assert placed(LONG, P, replace(D, num_cached_tokens=7984)).decision is Decision.LOCAL


def test_the_worker_that_has_the_prefix_is_taken() -> None:
    cached = 7984
    warm_p = replace(P, worker="warm", num_cached_tokens=cached)
    assert placed(LONG, P, warm_p, D).prefill == "warm"
    warm_d = replace(D, worker="warm", num_cached_tokens=cached)
    assert placed(LONG, P, D, warm_d).decode == "warm"


def test_the_shorter_queue_is_taken() -> None:
    busy_p, busy_d = (replace(one, num_queued_prefill_tokens=50_000) for one in (P, D))
    idle_p, idle_d = replace(P, worker="idle"), replace(D, worker="idle")
    assert placed(LONG, busy_p, idle_p, D).prefill == "idle"
    assert placed(SHORT, busy_d, idle_d, P).decode == "idle"


def test_a_faster_worker_may_have_the_longer_queue() -> None:
    slow = replace(P, num_queued_prefill_tokens=1000, prefill_tokens_per_s=1000.0)
    fast = replace(P, worker="fast", num_queued_prefill_tokens=5000)
    assert placed(LONG, slow, fast, D).prefill == "fast"


def test_an_unmeasured_worker_is_neither_preferred_nor_shunned() -> None:
    fresh = replace(P, prefill_tokens_per_s=0.0, step_time_s=0.0, worker="new")
    busy = replace(P, num_queued_prefill_tokens=100)
    assert placed(LONG, busy, fresh, D).prefill == "new"
    assert placed(LONG, P, replace(fresh, num_queued_prefill_tokens=100), D).prefill == "p"


def test_the_worker_with_the_faster_road_is_taken() -> None:
    slow = replace(P, transfer_bytes_per_s=1e8)
    assert placed(LONG, slow, replace(P, worker="fast"), D).prefill == "fast"


def test_the_decode_worker_with_fewer_sequences_is_taken() -> None:
    busy = replace(D, num_running=200)
    idle = replace(D, worker="idle")
    assert placed(LONG, P, busy, idle).decode == "idle"
    assert placed(SHORT, P, busy, idle).decode == "idle"


@pytest.mark.parametrize("demand", [SHORT, LONG])
def test_while_the_decode_workers_are_full_the_prefill_worker_does_it_all(demand: Demand) -> None:
    placement = placed(demand, P, replace(D, num_free_blocks=10))
    assert placement.decision is Decision.DECODE_ON_PREFILL
    assert (placement.prefill, placement.decode) == (None, "p")


def test_a_decode_worker_with_room_is_preferred_to_a_full_one() -> None:
    full = replace(D, num_free_blocks=10)
    busy = replace(D, worker="busy", num_running=100, num_queued_prefill_tokens=10_000)
    assert placed(LONG, P, full, busy).decode == "busy"


@pytest.mark.parametrize("demand", [SHORT, LONG])
def test_without_prefill_workers_the_decode_workers_compute(demand: Demand) -> None:
    for free in (1000, 0):
        placement = placed(demand, replace(D, num_free_blocks=free))
        assert (placement.decision, placement.decode) == (Decision.LOCAL, "d")


@pytest.mark.parametrize("demand", [SHORT, LONG])
def test_without_decode_workers_the_prefill_workers_generate(demand: Demand) -> None:
    for free in (1000, 0):
        placement = placed(demand, replace(P, num_free_blocks=free))
        assert (placement.decision, placement.decode) == (Decision.DECODE_ON_PREFILL, "p")


def test_where_all_are_full_a_decode_worker_queues_it() -> None:
    placement = placed(LONG, *(replace(one, num_free_blocks=0) for one in (P, D)))
    assert (placement.decision, placement.decode) == (Decision.LOCAL, "d")


@pytest.mark.parametrize(("num_cached", "is_local"), [(0, False), (7983, False), (7984, True)])
def test_the_operators_limit_overrides_the_prediction(num_cached: int, is_local: bool) -> None:
    demand = replace(LONG, local_prefill_max_tokens=16)
    slow_p = replace(P, num_queued_prefill_tokens=10**6)
    placement = placed(demand, slow_p, replace(D, num_cached_tokens=num_cached))
    assert (placement.decision is Decision.LOCAL) == is_local


def test_the_operators_limit_means_nothing_without_prefill_workers() -> None:
    assert placed(replace(LONG, local_prefill_max_tokens=0), D).decision is Decision.LOCAL


def test_a_limit_of_zero_sends_even_one_token_away() -> None:
    demand = Demand(num_prompt_tokens=1, local_prefill_max_tokens=0)
    assert placed(demand, P, D).decision is Decision.DISAGGREGATED


ONE_TOKEN = replace(LONG, ends_at_first_token=True)


@pytest.mark.parametrize("local_limit", [None, 0, 20_000])
def test_what_ends_with_its_first_token_is_not_handed_over(local_limit: int | None) -> None:
    demand = replace(ONE_TOKEN, local_prefill_max_tokens=local_limit)
    for decode in (D, replace(D, num_free_blocks=10)):
        placement = placed(demand, P, decode)
        assert placement.decision is Decision.PREFILL_ONLY
        assert (placement.prefill, placement.decode) == (None, "p")
        assert placement.predicted_ttft_s == pytest.approx(0.8)


def test_what_ends_with_its_first_token_goes_where_it_is_cached_or_sooner() -> None:
    busy = replace(P, num_queued_prefill_tokens=50_000)
    assert placed(ONE_TOKEN, busy, D).decision is Decision.LOCAL
    assert placed(ONE_TOKEN, P, replace(D, num_cached_tokens=7984)).decode == "d"
    assert placed(ONE_TOKEN, busy, replace(P, worker="idle"), D).decode == "idle"
    assert placed(ONE_TOKEN, D).decision is Decision.LOCAL


LOADS = st.builds(
    replace,
    st.sampled_from([P, D]),
    num_queued_prefill_tokens=st.integers(0, 100_000),
    num_running=st.integers(0, 256),
    num_free_blocks=st.integers(0, 1000),
    prefill_tokens_per_s=st.sampled_from([0.0, 100.0, 10_000.0]),
    step_time_s=st.sampled_from([0.0, 0.001, 0.1]),
    transfer_bytes_per_s=st.sampled_from([1e8, 1e11]),
    num_cached_tokens=st.integers(0, 63).map(lambda blocks: 16 * blocks),
)
CLUSTERS = st.lists(LOADS, min_size=1, max_size=5).map(
    lambda loads: [replace(load, worker=str(index)) for index, load in enumerate(loads)]
)
DEMANDS = st.builds(
    Demand,
    num_prompt_tokens=st.integers(1, 20_000),
    local_prefill_max_tokens=st.none() | st.integers(0, 20_000),
    ends_at_first_token=st.booleans(),
)


@given(DEMANDS, CLUSTERS)
def test_every_request_is_placed_on_workers_that_are_there(
    demand: Demand, workers: list[WorkerLoad]
) -> None:
    placement = placed(demand, *workers)
    roles = {worker.worker: worker.role for worker in workers}
    assert placement.predicted_ttft_s > 0
    if placement.decision is Decision.DISAGGREGATED:
        assert placement.prefill is not None and not demand.ends_at_first_token
        assert roles[placement.prefill] is Role.PREFILL
        assert roles[placement.decode] is Role.DECODE
    else:
        assert placement.prefill is None
        is_local = placement.decision is Decision.LOCAL
        assert roles[placement.decode] is (Role.DECODE if is_local else Role.PREFILL)


@given(DEMANDS, CLUSTERS, st.data())
def test_more_load_never_makes_a_worker_more_attractive(
    demand: Demand, workers: list[WorkerLoad], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(workers) - 1))
    before = placed(demand, *workers)
    worker = workers[index]
    workers[index] = replace(
        worker,
        num_queued_prefill_tokens=worker.num_queued_prefill_tokens
        + data.draw(st.integers(0, 10_000)),
        num_running=worker.num_running + data.draw(st.integers(0, 100)),
    )
    after = placed(demand, *workers)
    if worker.worker not in (before.prefill, before.decode):
        assert after == before
