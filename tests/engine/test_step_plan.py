from legato.engine.batch import SequenceRequest
from legato.engine.limits import EngineLimits
from legato.engine.sampling_params import SamplingParams
from legato.engine.sequence import Sequence
from legato.engine.step_plan import StepPlan

LIMITS = EngineLimits(num_blocks=8, block_size=4, vocab_size=100, max_model_len=20)


def add(plan: StepPlan, seq: Sequence, now_s: float = 1.0) -> None:
    plan.add(seq, seq.num_unscheduled_tokens, now_s)


def sequence(num_tokens: int) -> Sequence:
    return Sequence.of(
        num_tokens, SequenceRequest((1,) * num_tokens, SamplingParams(), 0), LIMITS, 0
    )


def test_a_chunk_is_cut_to_the_prefill_budget_and_does_not_sample() -> None:
    plan = StepPlan(token_budget=10, prefill_token_budget=4)
    add(plan, sequence(6))
    step = plan.finish()
    assert [(len(part.token_ids), part.sampling) for part in step.batch.sequences] == [(4, None)]
    assert (step.num_prefill_tokens, step.num_decode_tokens) == (4, 0)
    assert not plan.has_prefill_room


def test_single_tokens_use_the_whole_budget_but_not_the_prefill_budget() -> None:
    plan = StepPlan(token_budget=3, prefill_token_budget=1)
    for _ in range(2):
        add(plan, sequence(1))
    add(plan, sequence(5))
    add(plan, sequence(1))
    step = plan.finish()
    assert [len(part.token_ids) for part in step.batch.sequences] == [1, 1, 1]
    assert (step.num_prefill_tokens, step.num_decode_tokens) == (1, 2)


def test_the_time_of_the_first_schedule_is_kept() -> None:
    seq = sequence(6)
    add(StepPlan(token_budget=2, prefill_token_budget=2), seq, now_s=1.0)
    add(StepPlan(token_budget=2, prefill_token_budget=2), seq, now_s=5.0)
    assert seq.first_scheduled_s == 1.0
