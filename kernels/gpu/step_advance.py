"""How a step's inputs follow from the step before, without the host: twin step_advance.py."""

import torch
import triton
import triton.language as tl

_BLOCK = 1024


@triton.jit(do_not_specialize=["count"])
def _take_sampled_kernel(token_ids, sources, sampled, count, BLOCK: tl.constexpr):
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    source = tl.load(sources + rows, mask=rows < count, other=-1)
    taken = tl.load(sampled + source, mask=source >= 0, other=0)
    tl.store(token_ids + rows, taken.to(tl.int32), mask=source >= 0)


@triton.jit(do_not_specialize=["count"])
def _advance_kernel(context_lens, positions, sources, count, BLOCK: tl.constexpr):
    rows = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_row = rows < count
    lens = tl.load(context_lens + rows, mask=is_row, other=0)
    tl.store(context_lens + rows, lens + 1, mask=lens > 0)
    drawn = tl.load(positions + rows, mask=is_row, other=0)
    tl.store(positions + rows, drawn + 1, mask=is_row)
    tl.store(sources + rows, rows, mask=is_row)


def take_sampled_(token_ids: torch.Tensor, sources: torch.Tensor, sampled: torch.Tensor) -> None:
    """See the twin."""
    count = token_ids.shape[0]
    grid = (triton.cdiv(count, _BLOCK),)
    _take_sampled_kernel[grid](token_ids, sources, sampled, count, BLOCK=_BLOCK)


def advance_(context_lens: torch.Tensor, positions: torch.Tensor, sources: torch.Tensor) -> None:
    """See the twin."""
    count = context_lens.shape[0]
    grid = (triton.cdiv(count, _BLOCK),)
    _advance_kernel[grid](context_lens, positions, sources, count, BLOCK=_BLOCK)
