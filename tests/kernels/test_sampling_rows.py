import torch

from legato.kernels.sampling import adjust_logits, sample
from legato.kernels.sampling_rows import padding_rows


def test_padding_rows_take_the_likeliest_token_of_unchanged_logits() -> None:
    rows = padding_rows(3, 45, num_slots=0, max_biases=0, device=torch.device("cpu"))
    logits = torch.randn(3, 45)
    assert torch.equal(adjust_logits(logits, rows), logits)
    assert torch.equal(sample(logits, rows), logits.argmax(dim=-1))
    assert rows.num_rows == 3
