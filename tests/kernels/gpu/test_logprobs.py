import pytest
import torch

from legato.kernels import logprobs as twin
from legato.kernels.gpu.logprobs import token_logprobs
from legato.tests.kernels.gpu.device import DEVICE, DTYPES


def check(logits: torch.Tensor, token_ids: torch.Tensor, num_top: int) -> None:
    ours = token_logprobs(logits, token_ids, num_top)
    expected = twin.token_logprobs(logits, token_ids, num_top)
    for our, other in zip(ours, expected, strict=True):
        assert our.dtype == other.dtype and our.shape == other.shape
    torch.testing.assert_close(ours[0], expected[0], atol=2e-5, rtol=1e-5)
    assert torch.equal(ours[1], expected[1])
    torch.testing.assert_close(ours[3], expected[3], atol=2e-5, rtol=1e-5)
    # Which of equal tokens is named first is up to the implementation.
    named = logits.float().gather(1, ours[2])
    assert torch.equal(named, logits.float().gather(1, expected[2]))
    assert all(len(set(row)) == num_top for row in ours[2].tolist())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_top", [0, 1, 20])
def test_figures_are_the_twins(dtype: torch.dtype, num_top: int) -> None:
    logits = (torch.randn(3, 9001, device=DEVICE) * 4).to(dtype)
    check(logits, torch.tensor([0, 8999, int(logits[2].argmax())], device=DEVICE), num_top)


def test_every_token_of_a_small_vocabulary_may_be_named() -> None:
    logits = torch.randn(2, 7, device=DEVICE)
    check(logits, torch.tensor([6, 2], device=DEVICE), 7)


def test_banned_tokens_have_no_share() -> None:
    logits = torch.full((1, 5000), float("-inf"), device=DEVICE)
    logits[0, [3, 4]] = torch.tensor([1.0, 2.0], device=DEVICE)
    check(logits, torch.tensor([3], device=DEVICE), 2)
