"""SamplingRows for tests: padding, but for the columns that are given."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from legato.kernels.sampling_rows import MASK_BITS, SamplingRows

MAX_BIASES = 3
NUM_SLOTS = 3

Column = Sequence[float] | Sequence[Sequence[float]]


def padding_rows(
    num_rows: int, vocab_size: int, num_slots: int, max_biases: int, device: torch.device
) -> SamplingRows:
    """Rows that ask for nothing: greedy, without bias, penalties or mask; all counts are zero.

    Args:
        num_slots: sequences with penalties that there may be at a time
        max_biases: biased and banned tokens that a row may have
    """

    def filled(value: float, dtype: torch.dtype, *shape: int) -> torch.Tensor:
        return torch.full((num_rows, *shape), value, dtype=dtype, device=device)

    return SamplingRows(
        temperatures=filled(0, torch.float32),
        top_ks=filled(vocab_size, torch.int32),
        top_ps=filled(1, torch.float32),
        min_ps=filled(0, torch.float32),
        seeds=filled(0, torch.int64),
        positions=filled(0, torch.int64),
        presence_penalties=filled(0, torch.float32),
        frequency_penalties=filled(0, torch.float32),
        repetition_penalties=filled(1, torch.float32),
        count_slots=filled(-1, torch.int32),
        token_counts=torch.zeros(num_slots, vocab_size, dtype=torch.int16, device=device),
        bias_token_ids=filled(0, torch.int32, max_biases),
        bias_values=filled(0, torch.float32, max_biases),
        num_biases=filled(0, torch.int32),
        masks=filled(-1, torch.int32, -(-vocab_size // MASK_BITS)),
        has_mask=filled(0, torch.int32),
    )


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
