"""Adjustments are seen through greedy rows, and through draws that must equal the twin's."""

import torch

from legato.kernels import sampling as twin
from legato.kernels.gpu.sampling import sample
from legato.kernels.gpu.sampling_config import SamplingConfig
from legato.kernels.sampling_rows import SamplingRows
from legato.kernels.token_counts import set_counts_
from legato.tests.kernels.asked_rows import Column, asked_rows, mask_words
from legato.tests.kernels.gpu.device import DEVICE

SMALL = SamplingConfig(block=128, blocks_per_chunk=1, num_warps=4, candidate_block=32)
VOCAB_SIZE = 200
BANNED = float("-inf")


def tokens(*token_ids: int) -> torch.Tensor:
    return torch.tensor(token_ids, dtype=torch.int64, device=DEVICE)


def sampled(logits: torch.Tensor, rows: SamplingRows) -> list[int]:
    token_ids = sample(logits, rows, config=SMALL)
    assert torch.equal(token_ids, twin.sample(logits, rows))
    return [int(token_id) for token_id in token_ids]


def test_biases_apply_to_the_tokens_that_a_row_names() -> None:
    logits = torch.zeros(3, VOCAB_SIZE, device=DEVICE)
    logits[:, 150] = 1.0
    columns: dict[str, Column] = {
        "bias_token_ids": [[5, 199, 7], [150, 0, 0], [9, 150, 9]],
        "bias_values": [[0.5, 1.5, 9.0], [BANNED, 0.0, 0.0], [9.0, 9.0, 9.0]],
        "num_biases": [2, 1, 0],
    }
    assert sampled(logits, asked_rows(3, VOCAB_SIZE, DEVICE, **columns)) == [199, 0, 150]


def test_penalties_push_seen_tokens_down_after_the_bias() -> None:
    logits = torch.zeros(4, VOCAB_SIZE, device=DEVICE)
    logits[:, [3, 130]] = torch.tensor([2.0, 1.5], device=DEVICE)
    logits[3] -= 5
    columns: dict[str, Column] = {
        "count_slots": [2, 0, 1, 1],
        "repetition_penalties": [1.5, 1.0, 1.0, 2.0],
        "presence_penalties": [0.0, 0.4, 0.6, 0.0],
        "frequency_penalties": [0.0, 0.2, 0.0, 0.0],
        "bias_token_ids": [[3, 0, 0], [0] * 3, [0] * 3, [0] * 3],
        "bias_values": [[0.1, 0.0, 0.0], [0.0] * 3, [0.0] * 3, [0.0] * 3],
        "num_biases": [1, 0, 0, 0],
    }
    rows = asked_rows(4, VOCAB_SIZE, DEVICE, **columns)
    set_counts_(rows.token_counts, 2, tokens(3), tokens())  # 2.1 / 1.5 < 1.5
    set_counts_(rows.token_counts, 0, tokens(), tokens(3, 9, 3))  # 2 - 0.4 - 0.4 < 1.5
    set_counts_(rows.token_counts, 1, tokens(3), tokens(7))  # a prompt is not penalized; -3 * 2
    assert sampled(logits, rows) == [130, 130, 3, 130]


def test_masks_allow_single_tokens_of_each_word() -> None:
    logits = torch.arange(VOCAB_SIZE, device=DEVICE).float().repeat(3, 1)
    words = [mask_words(allowed, VOCAB_SIZE) for allowed in ([31, 63], [0], [128])]
    rows = asked_rows(3, VOCAB_SIZE, DEVICE, masks=words, has_mask=[1, 1, 0])
    assert sampled(logits, rows) == [63, 0, VOCAB_SIZE - 1]


def test_draws_follow_the_adjusted_logits() -> None:
    num_rows = 6
    logits = torch.randn(num_rows, VOCAB_SIZE, device=DEVICE)
    columns: dict[str, Column] = {
        "temperatures": [0.9] * num_rows,
        "top_ks": [VOCAB_SIZE, 12] * 3,
        "seeds": range(num_rows),
        "bias_token_ids": [[1, 150, 30]] * num_rows,
        "bias_values": [[3.0, 3.5, 2.5]] * num_rows,
        "num_biases": [3, 2, 1] * 2,
        "has_mask": [0, 1] * 3,
        "masks": [mask_words(range(0, VOCAB_SIZE, 3), VOCAB_SIZE)] * num_rows,
        "count_slots": [0, 1, 2, -1, -1, -1],
        "repetition_penalties": [1.3] * num_rows,
        "presence_penalties": [0.7] * num_rows,
        "frequency_penalties": [0.2] * num_rows,
    }
    rows = asked_rows(num_rows, VOCAB_SIZE, DEVICE, **columns)
    for slot in range(3):
        set_counts_(rows.token_counts, slot, tokens(*range(50)), tokens(150, 1, 1, 60 + slot))
    sampled(logits, rows)
