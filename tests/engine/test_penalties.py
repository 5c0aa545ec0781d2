import torch

from legato.engine.penalties import adjust_logits
from legato.engine.sampling_params import SamplingParams
from legato.tests.engine.batches import sampling_input

LOGITS = torch.tensor([[1.0, -1.0, 2.0, 0.5], [1.0, -1.0, 2.0, 0.5]])
NOTHING = sampling_input()


def adjusted(params: SamplingParams, **tokens: tuple[int, ...]) -> list[float]:
    """The second row's logits; the first asks for nothing and must stay as it is."""
    result = adjust_logits(LOGITS, [NOTHING, sampling_input(params, **tokens)])  # type: ignore[arg-type]
    assert torch.equal(result[0], LOGITS[0])
    values: list[float] = result[1].tolist()
    return values


def test_nothing_asked_is_nothing_copied() -> None:
    assert adjust_logits(LOGITS, [NOTHING, NOTHING]) is LOGITS


def test_repetition_counts_prompt_and_output_once() -> None:
    params = SamplingParams(repetition_penalty=2.0)
    assert adjusted(params, prompt=(0, 0, 1), output=(0, 2)) == [0.5, -2.0, 1.0, 0.5]


def test_presence_counts_output_tokens_once() -> None:
    params = SamplingParams(presence_penalty=0.5)
    assert adjusted(params, prompt=(3,), output=(0, 0, 2)) == [0.5, -1.0, 1.5, 0.5]


def test_frequency_counts_every_output_token() -> None:
    params = SamplingParams(frequency_penalty=0.5)
    assert adjusted(params, prompt=(3,), output=(0, 0, 2)) == [0.0, -1.0, 1.5, 0.5]


def test_bias_comes_before_the_penalties() -> None:
    params = SamplingParams(logit_bias={1: 3.0}, repetition_penalty=2.0)
    assert adjusted(params, output=(1,)) == [1.0, 1.0, 2.0, 0.5]


def test_a_banned_token_stays_banned_whatever_its_bias() -> None:
    params = SamplingParams(logit_bias={2: 100.0})
    assert adjusted(params, banned=(2, 2)) == [1.0, -1.0, float("-inf"), 0.5]
