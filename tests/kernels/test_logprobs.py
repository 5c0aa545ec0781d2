import torch

from legato.kernels.logprobs import token_logprobs

PROBABILITIES = torch.tensor([0.1, 0.4, 0.05, 0.25, 0.2])


def test_figures_are_those_of_the_distribution() -> None:
    logits = (PROBABILITIES.log() + 3).repeat(2, 1)
    chosen, ranks, top_ids, top = token_logprobs(logits, torch.tensor([4, 1]), 2)
    torch.testing.assert_close(chosen.exp(), PROBABILITIES[[4, 1]])
    assert ranks.tolist() == [3, 1]
    assert top_ids.tolist() == [[1, 3], [1, 3]]
    torch.testing.assert_close(top[0].exp(), PROBABILITIES[[1, 3]])


def test_equal_tokens_have_the_same_rank() -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0]]).half()
    ranks = [int(token_logprobs(logits, torch.tensor([token]), 0)[1]) for token in range(3)]
    assert ranks == [3, 1, 1]


def test_no_likeliest_tokens_may_be_asked_for() -> None:
    _, _, top_ids, top = token_logprobs(torch.randn(2, 5), torch.tensor([0, 0]), 0)
    assert top_ids.shape == top.shape == (2, 0)
