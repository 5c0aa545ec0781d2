import pytest

from legato.engine.batch import FinishReason, FirstTokenTiming, SequenceRequest
from legato.engine.limits import EngineLimits
from legato.engine.sampling_params import SamplingParams
from legato.engine.sequence import PRIORITY_LEVEL_S, Sequence

LIMITS = EngineLimits(
    num_blocks=8, block_size=4, vocab_size=100, max_model_len=20, eos_token_ids=(98, 99)
)


def sequence(
    params: SamplingParams, output: tuple[int, ...] = (), priority: int = 0, now_s: float = 0.0
) -> Sequence:
    request = SequenceRequest((1, 2, 3), params, 7, output, priority)
    return Sequence.of(0, request, LIMITS, now_s)


def test_the_last_known_token_brings_the_sampling_input() -> None:
    seq = sequence(SamplingParams(presence_penalty=1), output=(4,))
    assert seq.part_of_step(3).sampling is None
    seq.num_computed_tokens = 3
    part = seq.part_of_step(1)
    assert (part.token_ids, part.start) == ((4,), 3)
    assert part.sampling is not None
    assert part.sampling.position == 1
    assert part.sampling.output_token_ids == (4,)


def test_a_step_on_top_of_steps_under_way_takes_the_token_that_they_sample() -> None:
    seq = sequence(SamplingParams())
    seq.launched(1, seq.part_of_step(2))
    assert seq.num_unscheduled_tokens == 1
    seq.launched(2, seq.part_of_step(1))
    assert (seq.num_tokens_under_way, seq.num_pending_tokens, seq.last_step) == (3, 1, 2)
    part = seq.part_of_step(seq.num_unscheduled_tokens)
    assert (part.token_ids, part.takes_sampled, part.num_tokens) == ((), True, 1)
    assert part.start == 3
    assert part.sampling is not None
    assert part.sampling.position == 1


def test_collected_tokens_are_computed_and_only_they() -> None:
    seq = sequence(SamplingParams())
    parts = []
    for step in (1, 2):
        parts.append(seq.part_of_step(seq.num_unscheduled_tokens))
        seq.launched(step, parts[-1])
    seq.collected(parts[0])
    seq.append(7, 0.0)
    assert (seq.num_computed_tokens, seq.num_tokens_under_way) == (3, 1)
    assert (seq.num_pending_tokens, seq.num_unscheduled_tokens) == (1, 1)


def test_dropped_steps_leave_the_known_tokens_to_be_scheduled_again() -> None:
    seq = sequence(SamplingParams())
    seq.launched(1, seq.part_of_step(3))
    seq.drop_steps(next_step=2)
    assert (seq.num_unscheduled_tokens, seq.first_valid_step, seq.last_step) == (3, 2, 1)
    assert seq.part_of_step(3).token_ids == (1, 2, 3)


def test_nothing_is_left_to_schedule_once_the_last_token_is_under_way() -> None:
    seq = sequence(SamplingParams(max_tokens=1))
    assert not seq.is_ending
    seq.launched(1, seq.part_of_step(3))
    assert seq.is_ending
    assert seq.num_unscheduled_tokens == 0


def test_outputs_are_copied_into_a_step_only_for_penalties() -> None:
    sampling = sequence(SamplingParams(), output=(4,)).part_of_step(4).sampling
    assert sampling is not None
    assert sampling.output_token_ids == ()


@pytest.mark.parametrize("eos", LIMITS.eos_token_ids)
def test_each_eos_ends_a_sequence(eos: int) -> None:
    assert sequence(SamplingParams()).append(eos, 0.0) is FinishReason.STOP


def test_an_ignored_eos_ends_nothing_but_a_stop_id_still_does() -> None:
    seq = sequence(SamplingParams(ignore_eos=True, stop_token_ids=(5,)))
    assert seq.append(99, 0.0) is None
    assert seq.append(5, 0.0) is FinishReason.STOP


def test_stop_ids_are_banned_until_min_tokens_are_there() -> None:
    seq = sequence(SamplingParams(min_tokens=1, stop_token_ids=(5,)))
    sampling = seq.part_of_step(3).sampling
    assert sampling is not None
    assert set(sampling.banned_token_ids) == {5, 98, 99}
    assert seq.append(7, 0.0) is None
    seq.num_computed_tokens = 3
    sampling = seq.part_of_step(1).sampling
    assert sampling is not None
    assert sampling.banned_token_ids == ()


def test_earlier_outputs_count_towards_max_tokens() -> None:
    seq = sequence(SamplingParams(max_tokens=2), output=(4,))
    assert seq.append(7, 0.0) is FinishReason.LENGTH


def test_the_context_ends_a_sequence_too() -> None:
    seq = sequence(SamplingParams(max_tokens=None), output=(4,) * 16)
    assert seq.append(7, 0.0) is FinishReason.LENGTH
    assert len(seq.token_ids) == LIMITS.max_model_len


def test_the_timing_splits_waiting_from_computing() -> None:
    seq = sequence(SamplingParams(), now_s=10.0)
    seq.first_scheduled_s = 12.0
    seq.append(7, 15.0)
    seq.append(7, 99.0)
    assert seq.timing == FirstTokenTiming(queue_s=2.0, prefill_s=3.0)


def test_priority_goes_before_arrival_until_the_other_has_waited_long() -> None:
    low = sequence(SamplingParams(), priority=1, now_s=0.0)
    soon = sequence(SamplingParams(), priority=0, now_s=PRIORITY_LEVEL_S - 1)
    late = sequence(SamplingParams(), priority=0, now_s=PRIORITY_LEVEL_S + 1)
    assert soon.rank < low.rank < late.rank
