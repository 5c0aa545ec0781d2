"""What sequences ask of sampling, all the way from a batch to the tokens."""

from pathlib import Path

import pytest
import torch

from legato.engine.batch import SampledToken, SamplingInput, ScheduledBatch
from legato.engine.model_runner import ModelRunner
from legato.engine.sampling_params import SamplingParams
from legato.engine.step_state import StepLimits, StepState
from legato.kernels.backend import kernels_for
from legato.kernels.sampling import adjust_logits
from legato.kernels.sampling_rows import SamplingRows
from legato.tests.checkpoints import make_checkpoint
from legato.tests.engine.batches import build_runner, part, random_tokens, sampling_input
from legato.tests.kernels.gpu.device import DEVICE

KERNELS = kernels_for(DEVICE)
NOTHING = sampling_input()
PROBABILITIES = torch.tensor([0.05, 0.4, 0.1, 0.25, 0.2])
NUM_DRAWS = 4000


def asked(vocab_size: int, *inputs: SamplingInput) -> SamplingRows:
    """What a step's state makes of a sequence for each of these, in their order."""
    count = len(inputs)
    limits = StepLimits(
        max_num_seqs=count, max_num_batched_tokens=count, max_blocks=1, vocab_size=vocab_size
    )
    state = StepState(limits, KERNELS, DEVICE)
    sequences = (part([1], 0, 1, [row], given) for row, given in enumerate(inputs))
    state.fill(ScheduledBatch(tuple(sequences)))
    assert state.sample_order.tolist() == list(range(count))
    return state.sampling.rows(count)


def tokens(logits: torch.Tensor, *inputs: SamplingInput) -> list[int]:
    found: list[int] = KERNELS.sample(logits.to(DEVICE), asked(logits.shape[1], *inputs)).tolist()
    return found


def shares(params: SamplingParams) -> torch.Tensor:
    """How often each token is drawn, with one draw for each output position."""
    inputs = [sampling_input(params, seed=5, position=position) for position in range(NUM_DRAWS)]
    drawn = tokens(PROBABILITIES.log().repeat(NUM_DRAWS, 1), *inputs)
    return torch.bincount(torch.tensor(drawn), minlength=5) / NUM_DRAWS


def chi_square(observed: torch.Tensor, probabilities: torch.Tensor) -> float:
    return float(((observed - probabilities) ** 2 / probabilities).sum() * NUM_DRAWS)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_sharpens_and_flattens_what_draws_follow(temperature: float) -> None:
    wanted = (PROBABILITIES.log() / temperature).softmax(0)
    # 4 degrees of freedom, p = 0.001
    assert chi_square(shares(SamplingParams(temperature=temperature)), wanted) < 18.47


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        (SamplingParams(top_k=2), [1, 3]),
        (SamplingParams(top_p=0.7), [1, 3, 4]),
        (SamplingParams(min_p=0.3), [1, 3, 4]),
        (SamplingParams(top_k=3, top_p=0.7, min_p=0.1), [1, 3]),
    ],
)
def test_filters_share_out_all_among_what_they_keep(
    params: SamplingParams, kept: list[int]
) -> None:
    observed = shares(params)
    assert observed.nonzero().flatten().tolist() == kept
    wanted = PROBABILITIES[kept] / PROBABILITIES[kept].sum()
    assert chi_square(observed[kept], wanted) < 13.82


def test_a_top_k_beyond_the_vocabulary_keeps_all() -> None:
    assert (
        asked(5, *(sampling_input(SamplingParams(top_k=k)) for k in (9, 5, 0))).top_ks.eq(5).all()
    )


def test_a_sequence_samples_the_same_in_any_company() -> None:
    logits = torch.randn(6, 301) * 2
    inputs = [
        sampling_input(SamplingParams(), seed=1),
        sampling_input(SamplingParams(temperature=0.5, top_k=7), seed=2, position=3),
        sampling_input(SamplingParams(top_p=0.9, repetition_penalty=1.5), seed=3, output=(4, 5)),
        sampling_input(SamplingParams(min_p=0.2, presence_penalty=1.0), seed=4, output=(9,)),
        sampling_input(SamplingParams(logit_bias={3: 50.0}), seed=5, banned=(7,)),
        NOTHING,
    ]
    together = tokens(logits, *inputs)
    alone = [tokens(logits[row : row + 1], given)[0] for row, given in enumerate(inputs)]
    backwards = tokens(logits.flip(0), *reversed(inputs))[::-1]
    assert together == alone == backwards


def test_a_seed_may_use_all_64_bits_with_or_without_sign() -> None:
    seeds = -1, (1 << 64) - 1, 1
    inputs = [sampling_input(SamplingParams(), seed=seed) for seed in seeds]
    first, second, other = tokens(torch.zeros(3, 1000), *inputs)
    assert first == second != other


@pytest.mark.parametrize(
    ("params", "prompt", "output", "wanted"),
    [
        (SamplingParams(repetition_penalty=2.0), (0, 0, 1), (0, 2), [0.5, -2.0, 1.0, 0.5]),
        (SamplingParams(presence_penalty=0.5), (3,), (0, 0, 2), [0.5, -1.0, 1.5, 0.5]),
        (SamplingParams(frequency_penalty=0.5), (3,), (0, 0, 2), [0.0, -1.0, 1.5, 0.5]),
    ],
)
def test_repetition_counts_the_prompt_too_and_frequency_every_occurrence(
    params: SamplingParams, prompt: tuple[int, ...], output: tuple[int, ...], wanted: list[float]
) -> None:
    assert adjusted(sampling_input(params, prompt=prompt, output=output)) == wanted


def test_bias_comes_before_the_penalties() -> None:
    params = SamplingParams(logit_bias={1: 3.0}, repetition_penalty=2.0)
    assert adjusted(sampling_input(params, output=(1,))) == [1.0, 1.0, 2.0, 0.5]


def test_a_banned_token_stays_banned_whatever_its_bias() -> None:
    params = SamplingParams(logit_bias={2: 100.0})
    banned = sampling_input(params, banned=(2, 2))
    assert adjusted(banned) == [1.0, -1.0, float("-inf"), 0.5]


def adjusted(given: SamplingInput) -> list[float]:
    """A sequence's logits before any filter; those of its neighbour must stay as they are."""
    logits = torch.tensor([[1.0, -1.0, 2.0, 0.5]] * 2)
    neighbour, found = adjust_logits(logits.to(DEVICE), asked(4, NOTHING, given)).tolist()
    assert neighbour == logits[0].tolist()
    return [float(value) for value in found]


def test_log_probabilities_are_those_of_the_logits_as_the_model_gave_them(tmp_path: Path) -> None:
    params = SamplingParams(temperature=0, logit_bias={5: 100.0}, logprobs=2)
    runner = build_runner(make_checkpoint(tmp_path, "llama"))
    logits, token = logits_and_sample(runner, params)
    assert token.token_id == 5
    assert token.logprobs is not None
    assert token.logprobs.logprob == pytest.approx(float(logits.log_softmax(0)[5]), abs=1e-5)
    assert token.logprobs.rank == 1 + int((logits > logits[5]).sum())
    assert [token_id for token_id, _ in token.logprobs.top] == logits.topk(2).indices.tolist()


def test_more_log_probabilities_than_the_vocabulary_has_are_all_of_them(tmp_path: Path) -> None:
    runner = build_runner(make_checkpoint(tmp_path, "llama", vocab_size=12))
    _, token = logits_and_sample(runner, SamplingParams(temperature=0, logprobs=20))
    assert token.logprobs is not None
    assert sorted(token_id for token_id, _ in token.logprobs.top) == list(range(12))


def logits_and_sample(
    runner: ModelRunner, params: SamplingParams
) -> tuple[torch.Tensor, SampledToken]:
    """The [vocab] logits after some prompt, and what is sampled from them."""
    prompt = random_tokens(9, vocab_size=runner.model_config.vocab_size)
    batch = ScheduledBatch((part(prompt, 0, 9, [3], sampling_input(params)),))
    return runner.logits(batch)[0], runner.launch(batch).wait().sampled[0]
