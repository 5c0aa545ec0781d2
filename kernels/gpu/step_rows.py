"""Where each row of a step stands: its position in its sequence and its slot in the block pool."""

import torch
import triton
import triton.language as tl

from legato.kernels.gpu.attention_batch import AttentionBatch

_ROWS_PER_PROGRAM = 32
_SEQUENCES_PER_PASS = 128


def plan_rows(
    batch: AttentionBatch, block_size: int, positions: torch.Tensor, slots: torch.Tensor
) -> None:
    """Fills `positions` and `slots` from what the device knows of the batch.

    A padding row gets position 0 and slot -1.

    Args:
        block_size: tokens of a block
        positions: [rows] int32
        slots: [rows] int64, block_id * block_size + offset
    """
    num_rows = positions.shape[0]
    plan_rows_kernel[(triton.cdiv(num_rows, _ROWS_PER_PROGRAM),)](
        batch.query_starts,
        batch.context_lens,
        batch.block_tables,
        positions,
        slots,
        num_rows,
        batch.max_sequences,
        batch.block_tables.stride(0),
        BLOCK_SIZE=block_size,
        BLOCK_ROWS=_ROWS_PER_PROGRAM,
        BLOCK_SEQUENCES=_SEQUENCES_PER_PASS,
        num_warps=4,
    )


@triton.jit(do_not_specialize=["num_rows", "num_sequences", "table_stride"])
def plan_rows_kernel(
    query_starts,
    context_lens,
    block_tables,
    positions,
    slots,
    num_rows,
    num_sequences,
    table_stride,
    BLOCK_SIZE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_SEQUENCES: tl.constexpr,
):
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    # A row's sequence is the number of sequences that end at it or before. Counting them takes
    # more instructions than a binary search, but no load waits for another.
    sequences = tl.zeros((BLOCK_ROWS,), tl.int32)
    for first in range(0, num_sequences, BLOCK_SEQUENCES):
        others = first + tl.arange(0, BLOCK_SEQUENCES)
        ends = tl.load(query_starts + 1 + others, others < num_sequences, other=0x7FFFFFFF)
        sequences += tl.sum((ends[None, :] <= rows[:, None]).to(tl.int32), axis=1)

    is_used = (rows < num_rows) & (sequences < num_sequences)
    context_len = tl.load(context_lens + sequences, is_used, other=0)
    end = tl.load(query_starts + 1 + sequences, is_used, other=0)
    position = tl.where(is_used, context_len - end + rows, 0)
    table = block_tables + sequences.to(tl.int64) * table_stride
    block = tl.load(table + position // BLOCK_SIZE, is_used, other=0).to(tl.int64)
    slot = tl.where(is_used, block * BLOCK_SIZE + position % BLOCK_SIZE, -1)
    tl.store(positions + rows, position, rows < num_rows)
    tl.store(slots + rows, slot, rows < num_rows)
