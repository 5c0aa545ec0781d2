import torch

from legato.kernels import token_counts as twin
from legato.kernels.gpu.token_counts import count_tokens_
from legato.tests.kernels.asked_rows import asked_rows
from legato.tests.kernels.gpu.device import DEVICE


def test_counts_are_the_twins() -> None:
    ours, expected = (
        asked_rows(140, 60, DEVICE, count_slots=[2, *[-1] * 137, 0, 1]) for _ in range(2)
    )
    for rows in (ours, expected):
        rows.token_counts[2, 5:7] = torch.tensor([twin.MAX_COUNT, -1], dtype=torch.int16)
        rows.token_counts[0, 9] = twin.IN_PROMPT
    for first, last in ((5, 9), (6, 9), (59, 0), (59, 9)):
        token_ids = torch.full((140,), last, device=DEVICE)
        token_ids[0] = first
        count_tokens_(token_ids, ours)
        twin.count_tokens_(token_ids, expected)
    assert torch.equal(ours.token_counts, expected.token_counts)
    assert ours.token_counts[0, 9] == twin.IN_PROMPT + 3
