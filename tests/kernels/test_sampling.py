import pytest
import torch

from legato.kernels.random import exponential_noise
from legato.kernels.sampling import (
    adjust_logits,
    draw,
    filter_logits,
    filter_min_p_,
    filter_top_k_top_p_,
    sample,
)
from legato.kernels.token_counts import set_counts_
from legato.tests.kernels.asked_rows import asked_rows, mask_words

CPU = torch.device("cpu")
PROBABILITIES = torch.tensor([0.1, 0.4, 0.05, 0.25, 0.2])


def kept(logits: torch.Tensor) -> list[list[int]]:
    return [row.isfinite().nonzero().flatten().tolist() for row in logits]


def top_k_top_p(top_ks: list[int], top_ps: list[float]) -> list[list[int]]:
    logits = PROBABILITIES.log().repeat(len(top_ks), 1)
    filter_top_k_top_p_(logits, torch.tensor(top_ks), torch.tensor(top_ps), max(top_ks))
    return kept(logits)


def test_top_k_keeps_the_likeliest_of_each_row() -> None:
    assert top_k_top_p([1, 2, 5], [1.0, 1.0, 1.0]) == [[1], [1, 3], [0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("top_p", "tokens"),
    [(1e-9, [1]), (0.39, [1]), (0.41, [1, 3]), (0.7, [1, 3, 4]), (0.96, [0, 1, 2, 3, 4])],
)
def test_top_p_keeps_the_fewest_tokens_that_reach_it(top_p: float, tokens: list[int]) -> None:
    assert top_k_top_p([5], [top_p]) == [tokens]


def test_top_p_shares_out_what_top_k_has_left() -> None:
    # 0.4 of the 0.65 that two tokens hold are 0.615
    assert top_k_top_p([2, 2], [0.6, 0.63]) == [[1], [1, 3]]


def test_equal_tokens_are_kept_together() -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0]])
    filter_top_k_top_p_(logits, torch.tensor([2]), torch.tensor([1.0]), 2)
    assert kept(logits) == [[1, 2, 3]]


def test_a_row_is_filtered_the_same_in_wider_company() -> None:
    rows = torch.randn(2, 500) * 3
    alone, together = rows[:1].clone(), rows.clone()
    filter_top_k_top_p_(alone, torch.tensor([20]), torch.tensor([0.8]), 20)
    filter_top_k_top_p_(together, torch.tensor([20, 500]), torch.tensor([0.8, 0.3]), 500)
    assert torch.equal(alone[0], together[0])


def test_min_p_is_relative_to_the_likeliest() -> None:
    logits = PROBABILITIES.log().repeat(2, 1)
    filter_min_p_(logits, torch.tensor([0.51, 0.2]))
    assert kept(logits) == [[1, 3], [0, 1, 3, 4]]


def test_draws_follow_the_probabilities() -> None:
    count = 20_000
    noise = exponential_noise(torch.full((count,), 11), torch.arange(count), 5)
    tokens = draw(PROBABILITIES.log().expand(count, -1), noise)
    observed = torch.bincount(tokens, minlength=5)
    expected = PROBABILITIES * count
    chi_square = float(((observed - expected) ** 2 / expected).sum())
    assert chi_square < 18.47  # 4 degrees of freedom, p = 0.001


def test_excluded_tokens_are_never_drawn() -> None:
    logits = torch.full((1000, 4), float("-inf"))
    logits[:, 2] = -50.0
    noise = exponential_noise(torch.arange(1000), torch.zeros(1000, dtype=torch.int64), 4)
    assert set(draw(logits, noise).tolist()) == {2}


def test_a_row_without_temperature_takes_the_likeliest_token_and_the_lowest_of_equals() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0, 0.0], [4.0, 0.0, 0.0, 4.0]])
    rows = asked_rows(2, 4, CPU, seeds=[1, 2], top_ks=[2, 1])
    assert sample(logits, rows).tolist() == [1, 0]


def test_a_row_with_a_temperature_draws_by_its_seed_and_position() -> None:
    count, vocab_size = 2000, 5
    rows = asked_rows(count, vocab_size, CPU, temperatures=[1.0] * count, positions=range(count))
    logits = PROBABILITIES.log().expand(count, -1)
    noise = exponential_noise(rows.seeds, rows.positions, vocab_size)
    assert torch.equal(sample(logits, rows), draw(logits, noise))


def test_a_tiny_temperature_is_like_none() -> None:
    logits = PROBABILITIES.log()[None] * 1000
    rows = asked_rows(1, 5, CPU, temperatures=[1e-38])
    assert sample(logits, rows).tolist() == [1]


def test_filters_apply_after_the_temperature_and_one_after_the_other() -> None:
    rows = asked_rows(
        4,
        5,
        CPU,
        temperatures=[0.5, 1, 1, 1],
        min_ps=[0.3, 0.51, 0.2, 0],
        top_ks=[5, 5, 2, 3],
        top_ps=[1, 1, 1, 0.6],
    )
    logits = PROBABILITIES.log().repeat(4, 1)
    # the first: 0.4 ** 2 * 0.3 = 0.048; the last: 0.6 of 0.85 are 0.51
    assert kept(filter_logits(logits, rows, torch.arange(4))) == [[1, 3], [1, 3], [1, 3], [1, 3]]


def test_bias_comes_before_penalties_and_bans_after_all() -> None:
    rows = asked_rows(
        2,
        4,
        CPU,
        bias_token_ids=[[0, 3, 1], [0, 1, 2]],
        bias_values=[[1.0, float("-inf"), 9.0], [9.0, 9.0, 9.0]],
        num_biases=[2, 0],
        count_slots=[1, -1],
        repetition_penalties=[2.0, 1.0],
        presence_penalties=[0.5, 0.0],
        frequency_penalties=[0.25, 0.0],
    )
    set_counts_(rows.token_counts, 1, torch.tensor([0, 2]), torch.tensor([0, 1, 1]))
    logits = torch.tensor([[1.0, 1.0, -1.0, 1.0]] * 2, dtype=torch.float16)
    # (1 + 1) / 2 - 0.5 - 0.25;  1 / 2 - 0.5 - 2 * 0.25;  -1 * 2, of the prompt alone
    expected = [[0.25, -0.5, -2.0, float("-inf")], [1.0, 1.0, -1.0, 1.0]]
    assert adjust_logits(logits, rows).tolist() == expected


def test_rows_that_ask_for_nothing_take_the_likeliest_token_of_unchanged_logits() -> None:
    logits, rows = torch.randn(3, 45), asked_rows(3, 45, CPU)
    assert torch.equal(adjust_logits(logits, rows), logits)
    assert torch.equal(sample(logits, rows), logits.argmax(dim=-1))


def test_a_mask_bans_what_it_does_not_allow() -> None:
    vocab_size = 70
    words = mask_words([0, 31, 33, 69], vocab_size)
    rows = asked_rows(2, vocab_size, CPU, masks=[words, words], has_mask=[1, 0])
    adjusted = adjust_logits(torch.zeros(2, vocab_size), rows)
    assert kept(adjusted) == [[0, 31, 33, 69], list(range(70))]


def test_logits_are_left_as_they_are() -> None:
    logits = torch.randn(2, 9)
    before = logits.clone()
    sample(logits, asked_rows(2, 9, CPU, temperatures=[1, 0.5], num_biases=[1, 1], top_ks=[2, 2]))
    assert torch.equal(logits, before)
