"""SamplingRows for tests: padding, but for the columns that are given."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from legato.kernels.sampling_rows import MASK_BITS, SamplingRows, padding_rows

MAX_BIASES = 3
NUM_SLOTS = 3

Column = Sequence[float] | Sequence[Sequence[float]]


def asked_rows(
    num_rows: int, vocab_size: int, device: torch.device, **columns: Column
) -> SamplingRows:
    """Columns are named like the fields of SamplingRows and have an entry for each row."""
    rows = padding_rows(num_rows, vocab_size, NUM_SLOTS, MAX_BIASES, device)
    tensors = {
        name: torch.tensor(values, dtype=getattr(rows, name).dtype, device=device)
        for name, values in columns.items()
    }
    rows = replace(rows, **tensors)
    assert all(getattr(rows, name).shape[0] == num_rows for name in columns)
    return rows


def mask_words(allowed: Sequence[int], vocab_size: int) -> list[int]:
    """A row of masks that allows these tokens."""
    words = [0] * -(-vocab_size // MASK_BITS)
    for token in allowed:
        words[token // MASK_BITS] |= 1 << token % MASK_BITS
    return [word - (1 << 32) if word >> 31 else word for word in words]
