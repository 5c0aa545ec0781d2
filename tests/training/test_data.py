"""Batches: each entry's token is the target of the one before it, its level the target's weight."""

import torch

from legato.training.data import batch_of
from legato.training.packing import FIRMLY, LEVEL_WEIGHTS, USUALLY


def test_targets_and_weights_are_those_of_the_next_entry() -> None:
    row = torch.tensor([[5, 6 | USUALLY, 7 | FIRMLY, 8], [1, 2, 3, 4 | USUALLY]])

    ids, targets, weights = batch_of(row, torch.tensor(LEVEL_WEIGHTS))

    usual, firm = LEVEL_WEIGHTS[2], LEVEL_WEIGHTS[3]
    assert ids.tolist() == [[5, 6, 7, 8], [1, 2, 3, 4]]
    assert targets[:, :-1].tolist() == [[6, 7, 8], [2, 3, 4]]
    assert weights.tolist() == [[usual, firm, 0.0, 0.0], [0.0, 0.0, usual, 0.0]]


def test_a_rows_first_token_is_nobodys_target() -> None:
    row = torch.tensor([[5 | FIRMLY, 6]])

    _, _, weights = batch_of(row, torch.tensor(LEVEL_WEIGHTS))

    assert weights.tolist() == [[0.0, 0.0]]
