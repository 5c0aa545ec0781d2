"""Turns a scheduled batch into the tensors of one forward pass: the frozen forward context."""

from dataclasses import dataclass
from itertools import chain

import torch

from legato.engine.batch import ScheduledBatch, ScheduledSequence
from legato.kernels.attention_plan import (
    AttentionPlan,
    BatchLayout,
    build_attention_plan,
    group_key,
)


@dataclass(frozen=True, slots=True, eq=False)
class ForwardInputs:
    """All that a model reads beside its weights and the pool.

    Attributes:
        token_ids: [tokens]
        sampling_rows: [sampling sequences] the token that each samples from, in batch order
    """

    token_ids: torch.Tensor
    plan: AttentionPlan
    sampling_rows: torch.Tensor


def build_forward_inputs(batch: ScheduledBatch, kv_pool: torch.Tensor) -> ForwardInputs:
    """Lays out a batch of at least one sequence.

    Sequences of similar shape are placed side by side, whatever the batch's order is.
    """
    block_size = kv_pool.shape[4]
    order = sorted(
        range(len(batch.sequences)), key=lambda i: _group_key(batch.sequences[i], block_size)
    )
    sequences = [batch.sequences[index] for index in order]
    query_lens = torch.tensor([len(sequence.token_ids) for sequence in sequences])
    starts = torch.tensor([sequence.start for sequence in sequences])
    layout = BatchLayout(query_lens, starts + query_lens, _block_tables(sequences, block_size))

    token_ids = list(chain.from_iterable(sequence.token_ids for sequence in sequences))
    last_token_of = dict(zip(order, (query_lens.cumsum(0) - 1).tolist(), strict=True))
    sampling_rows = [
        last_token_of[index]
        for index, sequence in enumerate(batch.sequences)
        if sequence.sampling is not None
    ]
    return ForwardInputs(
        token_ids=torch.tensor(token_ids).to(kv_pool.device),
        plan=build_attention_plan(layout, kv_pool),
        sampling_rows=torch.tensor(sampling_rows, dtype=torch.int64).to(kv_pool.device),
    )


def _group_key(sequence: ScheduledSequence, block_size: int) -> tuple[int, int]:
    query_len = len(sequence.token_ids)
    return group_key(query_len, sequence.start + query_len, block_size)


def _block_tables(sequences: list[ScheduledSequence], block_size: int) -> torch.Tensor:
    """[sequences, blocks in use by the longest], padded with zeros."""
    used = [-(-(s.start + len(s.token_ids)) // block_size) for s in sequences]
    width = max(used)
    rows = [
        (*sequence.block_table[:count], *(0,) * (width - count))
        for sequence, count in zip(sequences, used, strict=True)
    ]
    return torch.tensor(rows)
