"""Counts one more output token for each row, in one small kernel.

What a count looks like is written in `legato.kernels.token_counts`.
A slot is filled anew by `set_counts_` there, which runs on any device.
"""

import torch
import triton
import triton.language as tl

from legato.kernels.gpu.device import can_launch_early
from legato.kernels.sampling_rows import SamplingRows

_BLOCK_ROWS = 128


def count_tokens_(token_ids: torch.Tensor, rows: SamplingRows) -> None:
    """Counts one more output token for each row that has a slot.

    Args:
        token_ids: [rows] int64
    """
    num_rows, vocab_size = rows.num_rows, rows.token_counts.shape[1]
    is_early = can_launch_early(token_ids.device)
    count_tokens_kernel[(triton.cdiv(num_rows, _BLOCK_ROWS),)](
        token_ids,
        rows.count_slots,
        rows.token_counts,
        num_rows,
        vocab_size,
        BLOCK_ROWS=_BLOCK_ROWS,
        IS_EARLY=is_early,
        launch_pdl=is_early,
    )


@triton.jit(do_not_specialize=["num_rows"])
def count_tokens_kernel(
    token_ids,
    count_slots,
    token_counts,  # [slots, vocab]
    num_rows,
    vocab_size,
    BLOCK_ROWS: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    slots = tl.load(count_slots + rows, rows < num_rows, other=-1)
    has_slot = slots >= 0
    tokens = tl.load(token_ids + rows, has_slot, other=0)
    entries = token_counts + slots.to(tl.int64) * vocab_size + tokens
    counts = tl.load(entries, has_slot, other=0)
    is_full = (counts & 0x7FFF) == 0x7FFF
    tl.store(entries, counts + 1, has_slot & ~is_full)
