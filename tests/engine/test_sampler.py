import torch

from legato.engine.batch import SamplingInput
from legato.engine.sampler import sample
from legato.engine.sampling_params import SamplingParams
from legato.tests.engine.batches import sampling_input

PROBABILITIES = torch.tensor([0.05, 0.4, 0.1, 0.25, 0.2])
LOGITS = PROBABILITIES.log()

torch.set_num_threads(1)


def tokens(logits: torch.Tensor, *inputs: SamplingInput) -> list[int]:
    return [token.token_id for token in sample(logits, inputs)]


def shares(params: SamplingParams, count: int = 8000) -> torch.Tensor:
    """How often each token comes out of `LOGITS`, one draw for each output position."""
    inputs = [sampling_input(params, seed=5, position=position) for position in range(count)]
    drawn = torch.tensor(tokens(LOGITS.repeat(count, 1), *inputs))
    return torch.bincount(drawn, minlength=5) / count


def chi_square(observed: torch.Tensor, probabilities: torch.Tensor, count: int = 8000) -> float:
    return float(((observed - probabilities) ** 2 / probabilities).sum() * count)


def test_greedy_takes_the_likeliest() -> None:
    assert tokens(torch.stack((LOGITS, LOGITS.flip(0))), *[sampling_input()] * 2) == [1, 3]


def test_draws_follow_the_distribution() -> None:
    assert chi_square(shares(SamplingParams()), PROBABILITIES) < 18.47


def test_temperature_sharpens_and_flattens() -> None:
    for temperature in (0.5, 2.0):
        wanted = (LOGITS / temperature).softmax(0)
        assert chi_square(shares(SamplingParams(temperature=temperature)), wanted) < 18.47


def test_top_k_top_p_and_min_p_renormalize_what_they_keep() -> None:
    for params, kept in (
        (SamplingParams(top_k=2), [1, 3]),
        (SamplingParams(top_p=0.7), [1, 3, 4]),
        (SamplingParams(min_p=0.3), [1, 3, 4]),
        (SamplingParams(top_k=3, top_p=0.7, min_p=0.1), [1, 3]),
    ):
        observed = shares(params)
        assert observed.nonzero().flatten().tolist() == kept
        wanted = PROBABILITIES[kept] / PROBABILITIES[kept].sum()
        assert chi_square(observed[kept], wanted) < 13.82


def test_a_tiny_temperature_is_greedy() -> None:
    params = SamplingParams(temperature=1e-30)
    assert shares(params, 50)[1] == 1


def test_a_row_samples_the_same_in_any_company() -> None:
    vocab_size = 301
    logits = torch.randn(6, vocab_size) * 2
    inputs = [
        sampling_input(SamplingParams(), seed=1),
        sampling_input(SamplingParams(temperature=0.5, top_k=7), seed=2, position=3),
        sampling_input(SamplingParams(top_p=0.9, repetition_penalty=1.5), seed=3, output=(4, 5)),
        sampling_input(SamplingParams(min_p=0.2, presence_penalty=1.0), seed=4, output=(9,)),
        sampling_input(SamplingParams(logit_bias={3: 50.0}), seed=5, banned=(7,)),
        sampling_input(),
    ]
    together = tokens(logits, *inputs)
    alone = [tokens(logits[row : row + 1], given)[0] for row, given in enumerate(inputs)]
    backwards = tokens(logits.flip(0), *reversed(inputs))[::-1]
    assert together == alone == backwards


def test_seed_and_position_each_change_the_draw() -> None:
    logits = torch.zeros(1, 1000)
    first = tokens(logits, sampling_input(SamplingParams(), seed=1, position=0))
    assert first == tokens(logits, sampling_input(SamplingParams(), seed=1, position=0))
    assert first != tokens(logits, sampling_input(SamplingParams(), seed=2, position=0))
    assert first != tokens(logits, sampling_input(SamplingParams(), seed=1, position=1))


def test_a_seed_may_use_all_64_bits_with_or_without_sign() -> None:
    logits = torch.zeros(2, 1000)
    inputs = [sampling_input(SamplingParams(), seed=seed) for seed in (-1, (1 << 64) - 1)]
    first, second = tokens(logits, *inputs)
    assert first == second


def test_logits_are_left_as_they_are() -> None:
    logits = LOGITS.repeat(3, 1)
    before = logits.clone()
    params = SamplingParams(top_k=2, repetition_penalty=2.0, logit_bias={1: 3.0})
    sample(logits, [sampling_input(params, output=(1, 2), banned=(3,))] * 3)
    assert torch.equal(logits, before)


def test_log_probabilities_are_those_of_the_unmodified_logits() -> None:
    params = SamplingParams(temperature=0, logit_bias={0: 100.0}, logprobs=2)
    (token,) = sample(LOGITS[None] + 7, [sampling_input(params)])
    assert token.token_id == 0
    assert token.logprobs is not None
    assert abs(token.logprobs.logprob - float(LOGITS[0])) < 1e-5
    assert token.logprobs.rank == 5
    assert [token_id for token_id, _ in token.logprobs.top] == [1, 3]
