"""One sequence on one or two workers: messages in any order, twice, or not at all."""

import asyncio
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.cluster.generation import GenerationEvent, GenerationRequest
from legato.cluster.placement import Decision, Placement
from legato.cluster.run import Attempt, Run, RunHalf
from legato.cluster.wire import Failed, HandedOver, StageTimes, Tokens
from legato.cluster.worker_link import WorkerLink
from legato.engine.batch import FinishReason, TokenLogprobs
from legato.engine.errors import (
    EngineError,
    InvalidRequestError,
    LegatoError,
    OverloadedError,
    WorkerLostError,
)
from legato.engine.sampling_params import SamplingParams

REQUEST = GenerationRequest((1, 2, 3), SamplingParams(max_tokens=6), 0, 0, b"")
OUTPUT = [10, 11, 12, 13, 14, 15]
LAST = len(OUTPUT) - 1
LOST = Failed(1, "lost", "the worker was lost")


class Link:
    """Stands for the stream to one worker; remembers how the request left it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.drops: list[bool] = []  # one for each drop: whether the worker was told to stop

    def next_request(self) -> int:
        return 1

    def drop(self, request: int, cancel: bool) -> None:
        self.drops.append(cancel)


class Pair:
    """A run with a half on P and one on D (or on D alone)."""

    def __init__(self, is_disaggregated: bool = True) -> None:
        self.run = Run(REQUEST)
        self.p_link, self.d_link = Link("P"), Link("D")
        self.p = RunHalf(self.run, cast(WorkerLink, self.p_link))
        self.d = RunHalf(self.run, cast(WorkerLink, self.d_link))
        self.run.begin(Attempt(self.p if is_disaggregated else None, self.d))

    async def events(self) -> list[GenerationEvent]:
        """All events up to the end, or until the attempt has failed."""
        found: list[GenerationEvent] = []
        async with asyncio.timeout(5):
            while (event := await self.run.next_event()) is not None:
                found.append(event)
                if event.finish_reason is not None:
                    break
        return found

    async def output(self) -> list[int]:
        return [token for event in await self.events() for token in event.token_ids]

    @property
    def is_working(self) -> bool:
        return bool(self.run.attempt.halves)


def tokens(position: int, num: int = 1, times: StageTimes | None = None) -> Tokens:
    """Part of OUTPUT; the last token finishes."""
    end = position + num
    reason = FinishReason.LENGTH if end > LAST else None
    return Tokens(1, position, OUTPUT[position:end], [], reason, None, times)


async def test_tokens_come_first_from_the_prefill_worker_and_then_from_the_other() -> None:
    pair = Pair()
    pair.p.on_message(tokens(0))
    pair.p.on_message(HandedOver(1, StageTimes()))
    pair.d.on_message(tokens(1, 5))
    assert await pair.output() == OUTPUT
    assert pair.run.output_token_ids == OUTPUT
    assert pair.p_link.drops == [False]
    assert not pair.is_working


async def test_an_event_names_its_worker_where_it_is_another_one_than_before() -> None:
    pair = Pair()
    pair.d.on_message(tokens(2))  # early
    pair.p.on_message(tokens(0))
    pair.p.on_message(tokens(1))
    pair.d.on_message(tokens(3, 3))
    assert [event.worker for event in await pair.events()] == ["P", None, "D", None]


async def test_a_token_that_comes_early_waits_for_those_before_it() -> None:
    pair = Pair()
    pair.d.on_message(tokens(2))
    pair.d.on_message(tokens(3))
    pair.p.on_message(tokens(0))
    assert pair.run.output_token_ids == OUTPUT[:1]
    pair.p.on_message(tokens(1))
    assert pair.run.output_token_ids == OUTPUT[:4]
    pair.d.on_message(tokens(4, 2))
    assert await pair.output() == OUTPUT


async def test_an_early_end_still_waits_for_the_tokens_before_it() -> None:
    pair = Pair()
    pair.d.on_message(tokens(1, 5))
    assert pair.is_working
    pair.p.on_message(tokens(0))
    assert await pair.output() == OUTPUT
    assert pair.p_link.drops == [True]


async def test_what_is_known_already_is_dropped_with_its_logprobs() -> None:
    pair = Pair()
    pair.p.on_message(tokens(0, 3))
    logprobs = [TokenLogprobs(token, -1.0, 1, ()) for token in OUTPUT[1:]]
    last = Tokens(1, 1, OUTPUT[1:], logprobs, FinishReason.STOP, OUTPUT[-1], None)
    pair.p.on_message(tokens(1, 2))
    pair.d.on_message(last)
    events = await pair.events()
    assert [event.token_ids for event in events] == [tuple(OUTPUT[:3]), tuple(OUTPUT[3:])]
    assert [one.token_id for one in events[1].logprobs] == OUTPUT[3:]
    assert events[1].stop_token_id == OUTPUT[-1]


@given(st.data())
def test_however_two_streams_interleave_the_output_is_the_same(data: st.DataObject) -> None:
    """P streams the first tokens, D the rest and maybe some that P has sent as well."""
    pair = Pair()
    num_from_p = data.draw(st.integers(1, LAST))
    from_d = data.draw(st.integers(0, num_from_p))
    queues: dict[RunHalf, list[Tokens | HandedOver]] = {
        pair.p: [*map(tokens, range(num_from_p)), HandedOver(1, StageTimes())],
        pair.d: [*map(tokens, range(from_d, len(OUTPUT)))],
    }
    while any(queues.values()):
        half = data.draw(st.sampled_from([half for half, queue in queues.items() if queue]))
        half.on_message(queues[half].pop(0))
    assert pair.run.output_token_ids == OUTPUT
    assert not pair.is_working


async def test_the_prefill_workers_loss_before_the_handover_ends_the_attempt() -> None:
    pair = Pair()
    pair.p.on_message(tokens(0))
    pair.p.on_message(LOST)
    assert await pair.output() == OUTPUT[:1]
    assert pair.d_link.drops == [True]  # it waits for KV that will never come
    assert isinstance(pair.run.failure(), WorkerLostError)


async def test_the_prefill_workers_loss_after_the_handover_harms_nothing() -> None:
    pair = Pair()
    pair.p.on_message(tokens(0))
    pair.d.on_message(tokens(1))
    pair.p.on_message(LOST)
    pair.d.on_message(tokens(2, 4))
    assert await pair.output() == OUTPUT


async def test_tokens_lost_with_the_prefill_worker_are_computed_again() -> None:
    """D is ahead of a token that P computed, but could not send any more."""
    pair = Pair()
    pair.d.on_message(tokens(1))
    pair.p.on_message(LOST)
    assert await pair.output() == []
    assert pair.d_link.drops == [True]
    assert isinstance(pair.run.failure(), WorkerLostError)


async def test_the_prefill_worker_goes_on_alone_without_the_decode_worker() -> None:
    pair = Pair()
    pair.d.on_message(Failed(1, "capacity", "no free KV blocks"))
    for position in range(len(OUTPUT)):
        pair.p.on_message(tokens(position))
    assert await pair.output() == OUTPUT
    assert pair.p_link.drops == [False]


async def test_a_handover_to_a_worker_that_is_lost_by_then_ends_the_attempt() -> None:
    pair = Pair()
    pair.p.on_message(tokens(0))
    pair.d.on_message(LOST)
    assert await pair.run.next_event() is not None
    following = asyncio.create_task(pair.output())
    await asyncio.sleep(0)  # it waits by now
    pair.p.on_message(HandedOver(1, StageTimes()))
    assert await following == []
    assert isinstance(pair.run.failure(), WorkerLostError)


async def test_the_next_attempt_goes_on_where_the_last_one_broke_off() -> None:
    pair = Pair(is_disaggregated=False)
    pair.d.on_message(tokens(0, 2))
    pair.d.on_message(tokens(4))  # early, and of no use any more
    pair.d.on_message(LOST)
    assert await pair.output() == OUTPUT[:2]
    link = Link("E")
    again = RunHalf(pair.run, cast(WorkerLink, link))
    pair.run.begin(Attempt(decode=again))
    pair.d.on_message(tokens(2))  # a straggler of the first attempt
    assert pair.run.output_token_ids == OUTPUT[:2]
    again.on_message(tokens(2, 4))
    assert await pair.output() == OUTPUT[2:]
    assert pair.run.num_attempts == 2


@pytest.mark.parametrize(
    ("failures", "error"),
    [
        ([], EngineError),
        ([LOST], WorkerLostError),
        ([Failed(1, "capacity", "full")], OverloadedError),
        ([LOST, Failed(1, "capacity", "full")], OverloadedError),
        ([Failed(1, "client", "too long", "prompt", "too_long"), LOST], InvalidRequestError),
    ],
)
def test_the_error_is_the_clients_fault_or_else_the_last_one(
    failures: list[Failed], error: type[LegatoError]
) -> None:
    pair = Pair()
    pair.run.attempt.failures += failures
    shown = pair.run.failure()
    assert type(shown) is error
    if isinstance(shown, InvalidRequestError):
        assert (str(shown), shown.param, shown.code) == ("too long", "prompt", "too_long")


async def test_a_cancelled_run_leaves_both_workers_and_hears_nothing_more() -> None:
    pair = Pair()
    pair.run.end(cancel=True)
    pair.run.end(cancel=True)
    assert pair.p_link.drops == pair.d_link.drops == [True]
    pair.p.on_message(tokens(0))
    assert pair.run.output_token_ids == []


async def test_an_end_cancels_the_other_half() -> None:
    pair = Pair()
    pair.p.on_message(tokens(0, 6))
    assert pair.p_link.drops == [False]
    assert pair.d_link.drops == [True]
    assert await pair.output() == OUTPUT


async def test_the_first_and_the_last_event_carry_the_timeline() -> None:
    pair = Pair()
    pair.p.on_message(tokens(0, times=StageTimes(queue_s=1, prefill_s=2, num_cached_tokens=16)))
    handed_over = StageTimes(queue_s=1, prefill_s=2, reserve_s=3, transfer_s=4, transfer_bytes=5)
    pair.p.on_message(HandedOver(1, handed_over))
    pair.d.on_message(tokens(1))
    pair.d.on_message(tokens(2, 4))
    first, middle, last = await pair.events()
    assert (first.num_cached_tokens, middle.num_cached_tokens) == (16, None)
    assert first.timeline == {"queue": 1, "prefill": 2}
    assert middle.timeline is None
    assert last.timeline == {
        "queue": 1,
        "prefill": 2,
        "reserve": 3,
        "transfer": 4,
        "transfer_bytes": 5,
    }


async def test_the_gap_at_the_handover_is_measured() -> None:
    pair = Pair()
    pair.run.placed(Placement("P", "D", Decision.DISAGGREGATED, 0.25))
    pair.p.on_message(tokens(0))
    pair.p.on_message(tokens(1))
    assert pair.run.handover_gap_s is None
    pair.d.on_message(tokens(2))
    gap_s = pair.run.handover_gap_s
    assert gap_s is not None and 0 <= gap_s < 1
    pair.d.on_message(tokens(3, 3))
    assert await pair.output() == OUTPUT
    assert pair.run.handover_gap_s == gap_s


async def test_a_sequence_that_stays_or_fails_over_has_no_handover_gap() -> None:
    pair = Pair()
    pair.run.placed(Placement("P", "D", Decision.DISAGGREGATED, 0.25))
    pair.p.on_message(tokens(0))
    pair.run.placed(Placement(None, "D", Decision.LOCAL, 0.25))
    pair.run.begin(Attempt(decode=pair.d))
    pair.d.on_message(tokens(1, 5))
    assert await pair.output() == OUTPUT
    assert pair.run.handover_gap_s is None


def test_tokens_left_count_down_to_none_or_are_not_known() -> None:
    pair = Pair()
    pair.p.on_message(tokens(0, 5))
    assert pair.run.num_tokens_left == 1
    endless = GenerationRequest((1,), SamplingParams(max_tokens=None), 0, 0, b"")
    assert Run(endless).num_tokens_left is None


def test_a_placement_is_remembered() -> None:
    run = Run(REQUEST)
    run.placed(Placement("p", "d", Decision.DISAGGREGATED, 0.25))
    assert (run.is_disaggregated, run.predicted_ttft_s) == (True, 0.25)
    assert run.placed_at > 0
    run.placed(Placement(None, "d", Decision.LOCAL, 0.5))
    assert (run.is_disaggregated, run.predicted_ttft_s) == (False, 0.5)
