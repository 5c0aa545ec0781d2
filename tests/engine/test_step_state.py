import pytest
import torch

from legato.engine.batch import Continuation, ScheduledBatch, ScheduledSequence
from legato.engine.sampling_params import SamplingParams
from legato.engine.step_state import StepLimits, StepShape, StepState
from legato.kernels.backend import kernels_for
from legato.tests.engine.batches import sampling_input
from legato.tests.kernels.gpu.device import DEVICE

LIMITS = StepLimits(max_num_seqs=4, max_num_batched_tokens=16, max_blocks=3, vocab_size=50)
GREEDY = SamplingParams(temperature=0)


@pytest.fixture
def state() -> StepState:
    return StepState(LIMITS, kernels_for(DEVICE), DEVICE)


def prompt(
    seq_id: int, tokens: tuple[int, ...], start: int = 0, samples: bool = True
) -> ScheduledSequence:
    return ScheduledSequence(
        seq_id=seq_id,
        token_ids=tokens,
        start=start,
        block_table=(seq_id, seq_id + 20),
        sampling=sampling_input(GREEDY) if samples else None,
    )


def follow_up(
    seq_id: int, start: int, position: int, params: SamplingParams = GREEDY
) -> ScheduledSequence:
    return ScheduledSequence(
        seq_id=seq_id,
        token_ids=(),
        start=start,
        block_table=(seq_id, seq_id + 20),
        sampling=sampling_input(params, position=position),
        takes_sampled=True,
    )


def device(state: StepState, name: str, count: int) -> list[int]:
    found: list[int] = state.device_tensor(name)[:count].tolist()
    return found


def advance_device(state: StepState, count: int) -> None:
    """What the tail of a step does."""
    names = ("context_lens", "positions", "sources")
    kernels_for(DEVICE).advance_(*(state.device_tensor(name)[:count] for name in names))


def test_a_batch_is_laid_out_sequence_after_sequence(state: StepState) -> None:
    shape = state.fill(
        ScheduledBatch(
            (prompt(5, (11, 12, 13)), prompt(6, (21,), 7), prompt(7, (31, 32), 2, samples=False))
        )
    )
    assert shape == StepShape(num_tokens=6, num_sequences=3, num_samples=2, is_decode=False)
    assert device(state, "token_ids", 7) == [11, 12, 13, 21, 31, 32, 0]
    assert device(state, "query_starts", 5) == [0, 3, 4, 6, 6]
    assert device(state, "context_lens", 4) == [3, 8, 4, 0]
    assert device(state, "sampling_rows", 4) == [2, 3, 0, 0]
    assert state.sample_order.tolist() == [0, 1]
    assert state.attention_batch(3).block_tables.tolist() == [[5, 25, 0], [6, 26, 0], [7, 27, 0]]


def test_the_hosts_layout_is_the_devices(state: StepState) -> None:
    state.fill(ScheduledBatch((prompt(5, (11, 12, 13)), prompt(6, (21,), 7))))
    layout, batch = state.layout(), state.attention_batch(2)
    assert layout.query_lens.tolist() == batch.query_starts.diff().tolist()
    assert layout.context_lens.tolist() == batch.context_lens.tolist()
    assert layout.block_tables.tolist() == batch.block_tables.tolist()


def test_a_token_that_only_the_device_knows_comes_from_its_sample(state: StepState) -> None:
    state.fill(ScheduledBatch((prompt(5, (1,)), prompt(6, (2, 3), samples=False), prompt(7, (4,)))))
    batch = ScheduledBatch((follow_up(7, 1, 1), prompt(6, (5,), 2), follow_up(5, 1, 1)))
    state.fill(batch)
    assert device(state, "sources", 4) == [0, -1, 1, -1]
    state.sampled[:2] = torch.tensor([40, 41], device=DEVICE)
    token_ids = state.device_tensor("token_ids")[:3]
    sources = state.device_tensor("sources")[:3]
    kernels_for(DEVICE).take_sampled_(token_ids, sources, state.sampled)
    assert token_ids.tolist() == [40, 5, 41]
    assert state.sample_order.tolist() == [2, 1, 0]


def test_a_batch_that_goes_on_is_advanced_by_the_device_alone(state: StepState) -> None:
    state.fill(ScheduledBatch((prompt(5, (1,), 3), prompt(6, (2,), 8))))
    advance_device(state, 4)
    state.fill(ScheduledBatch((follow_up(5, 4, 1), follow_up(6, 9, 1)), Continuation(())))
    advance_device(state, 4)
    shape = state.fill(ScheduledBatch((follow_up(5, 5, 2), follow_up(6, 10, 2)), Continuation(())))
    assert shape == StepShape(2, 2, 2, True)
    assert device(state, "context_lens", 3) == [6, 11, 0]
    assert device(state, "positions", 2) == [2, 2]
    assert device(state, "sources", 2) == [0, 1]
    assert state.layout().context_lens.tolist() == [6, 11]


def test_a_batch_in_another_order_keeps_its_rows(state: StepState) -> None:
    state.fill(ScheduledBatch((prompt(5, (1,), 3), prompt(6, (2,), 8))))
    advance_device(state, 4)
    state.fill(ScheduledBatch((follow_up(6, 9, 1), follow_up(5, 4, 1))))
    assert device(state, "context_lens", 2) == [5, 10]
    assert state.sample_order.tolist() == [1, 0]


def test_new_blocks_reach_the_device_while_a_batch_goes_on(state: StepState) -> None:
    state.fill(ScheduledBatch((prompt(5, (1,), 3),)))
    advance_device(state, 4)
    grown = follow_up(5, 4, 1)
    grown = ScheduledSequence(
        seq_id=5,
        token_ids=(),
        start=4,
        block_table=(5, 25, 9),
        sampling=grown.sampling,
        takes_sampled=True,
    )
    state.fill(ScheduledBatch((grown,), Continuation((0,))))
    assert state.attention_batch(1).block_tables.tolist() == [[5, 25, 9]]


def test_a_batch_behind_one_with_prompts_is_written_by_the_host(state: StepState) -> None:
    state.fill(ScheduledBatch((prompt(5, (1, 2, 3)), prompt(6, (2,), 8))))
    advance_device(state, 4)
    state.fill(ScheduledBatch((follow_up(5, 3, 1), follow_up(6, 9, 1)), Continuation(())))
    assert device(state, "query_starts", 3) == [0, 1, 2]
    assert device(state, "context_lens", 2) == [4, 10]


def test_rows_that_sample_say_what_they_ask_for(state: StepState) -> None:
    params = SamplingParams(temperature=0.5, top_k=3, top_p=0.75, min_p=0.25, logit_bias={4: -2.0})
    seed = (1 << 63) + 5
    asked = replace_sampling(prompt(5, (1,)), sampling_input(params, seed=seed, position=9))
    state.fill(ScheduledBatch((asked, prompt(6, (2,)))))
    rows = state.sampling.rows(3)
    assert rows.temperatures.tolist() == [0.5, 0, 0]
    assert rows.top_ks.tolist()[:2] == [3, 50]
    assert rows.top_ps.tolist()[:2] == [0.75, 1]
    assert rows.min_ps.tolist()[:2] == [0.25, 0]
    assert rows.seeds.tolist()[:1] == [seed - (1 << 64)]
    assert rows.positions.tolist()[:2] == [9, 0]
    assert rows.num_biases.tolist() == [1, 0, 0]
    assert rows.bias_token_ids[0, 0].item() == 4
    assert rows.bias_values[0, 0].item() == -2
    assert rows.count_slots.tolist() == [-1, -1, -1]


def replace_sampling(seq: ScheduledSequence, sampling: object) -> ScheduledSequence:
    fields = {name: getattr(seq, name) for name in seq.__struct_fields__}
    return ScheduledSequence(**{**fields, "sampling": sampling})
