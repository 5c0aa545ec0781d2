import torch

from legato.kernels.token_counts import IN_PROMPT, MAX_COUNT, count_tokens_, set_counts_
from legato.tests.kernels.asked_rows import asked_rows

CPU = torch.device("cpu")
NONE = torch.tensor([], dtype=torch.int64)


def test_a_slot_knows_the_prompt_by_the_sign_and_counts_the_output() -> None:
    counts = torch.full((2, 5), 7, dtype=torch.int16)
    set_counts_(counts, 1, torch.tensor([0, 3, 3]), torch.tensor([2, 3, 2]))
    assert counts.tolist() == [[7] * 5, [IN_PROMPT, 0, 2, IN_PROMPT + 1, 0]]


def test_a_slot_is_empty_for_a_sequence_without_tokens() -> None:
    counts = torch.full((1, 5), 7, dtype=torch.int16)
    set_counts_(counts, 0, NONE, NONE)
    assert not counts.any()


def test_each_row_with_a_slot_counts_its_own_token() -> None:
    rows = asked_rows(3, 4, CPU, count_slots=[2, -1, 0])
    count_tokens_(torch.tensor([1, 2, 3]), rows)
    count_tokens_(torch.tensor([1, 2, 0]), rows)
    assert rows.token_counts.tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 2, 0, 0]]


def test_counts_stay_at_their_maximum() -> None:
    rows = asked_rows(2, 2, CPU, count_slots=[0, 1])
    set_counts_(rows.token_counts, 0, NONE, torch.ones(40_000, dtype=torch.int64))
    set_counts_(rows.token_counts, 1, torch.tensor([1]), torch.ones(32_766, dtype=torch.int64))
    for _ in range(2):
        count_tokens_(torch.tensor([1, 1]), rows)
    assert rows.token_counts[:2].tolist() == [[0, MAX_COUNT], [0, IN_PROMPT + MAX_COUNT]]
