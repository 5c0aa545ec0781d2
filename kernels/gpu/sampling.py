"""Sampling in four passes over the logits, none of which sorts or asks the host anything.

    adjust     (row, chunk)  bias, penalties, mask; the likeliest token of each chunk
    histogram  (row, chunk)  rows with top-k or top-p: how many tokens are how far below the best
    draw       (row, chunk)  rows that draw: a race among tokens that stay for sure, and a list
                             of candidates, of which a filter may keep some
    finish     (row)         rows with top-k or top-p: which candidates stay, and their race;
                             all rows: the token

Programs of rows that have nothing to do in a pass leave at once. Whatever programs add up for a row
is a maximum or a sum of integers, so a row's token depends neither on the batch nor on timing.
See `legato.kernels.gpu.sampling_filters` for why the tokens kept are exactly those of a sort.
"""

from dataclasses import dataclass

import torch
import triton

from legato.kernels.gpu.device import can_launch_early
from legato.kernels.gpu.logit_adjustments import STATE_SIZE, adjust_kernel
from legato.kernels.gpu.sampling_config import (
    MAX_CHUNKS,
    MAX_SLAB_ROWS,
    SamplingConfig,
    choose_config,
)
from legato.kernels.gpu.sampling_filters import NUM_BINS, histogram_kernel
from legato.kernels.gpu.sampling_race import draw_kernel, finish_kernel
from legato.kernels.sampling_rows import SamplingRows


@dataclass(frozen=True, slots=True, eq=False)
class _Scratch:
    """What the passes leave for each other; rows are those of a slab.

    Attributes:
        adjusted: [rows, vocab] float32, of rows that change their logits
        chunk_best: [rows, chunks] int64, the likeliest token, packed
        row_state: [rows, STATE_SIZE] int64
        histograms: [rows, NUM_BINS] int32
        candidate_keys: [rows, vocab] int32, the bits of distances, in no order
        candidate_tokens: [rows, vocab] int32
    """

    adjusted: torch.Tensor
    chunk_best: torch.Tensor
    row_state: torch.Tensor
    histograms: torch.Tensor
    candidate_keys: torch.Tensor
    candidate_tokens: torch.Tensor


def sample(
    logits: torch.Tensor, rows: SamplingRows, *, config: SamplingConfig | None = None
) -> torch.Tensor:
    """Samples one token for each row; `logits` are left as they are.

    Args:
        logits: [rows, vocab] float32, bfloat16 or float16; the tokens of a row adjacent
        config: None: `choose_config`

    Returns:
        [rows] int64
    """
    num_rows, vocab_size = logits.shape
    assert logits.stride(1) == 1 and rows.num_rows == num_rows
    assert rows.token_counts.shape[1] == vocab_size
    config = config or choose_config(num_rows, vocab_size)
    slab_rows = min(num_rows, MAX_SLAB_ROWS)
    num_chunks = triton.cdiv(vocab_size, config.block * config.blocks_per_chunk)
    assert num_chunks <= MAX_CHUNKS
    scratch = _allocate(slab_rows, vocab_size, num_chunks, logits.device)
    token_ids = torch.empty(num_rows, dtype=torch.int64, device=logits.device)
    for first_row in range(0, num_rows, slab_rows):
        grid = (num_chunks, min(slab_rows, num_rows - first_row))
        _launch(logits, rows, scratch, token_ids, first_row, grid, config)
    return token_ids


def _allocate(num_rows: int, vocab_size: int, num_chunks: int, device: torch.device) -> _Scratch:
    def empty(size: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.empty((num_rows, size), dtype=dtype, device=device)

    return _Scratch(
        adjusted=empty(vocab_size, torch.float32),
        chunk_best=empty(num_chunks, torch.int64),
        row_state=empty(STATE_SIZE.value, torch.int64),
        histograms=empty(NUM_BINS.value, torch.int32),
        candidate_keys=empty(vocab_size, torch.int32),
        candidate_tokens=empty(vocab_size, torch.int32),
    )


def _launch(
    logits: torch.Tensor,
    rows: SamplingRows,
    scratch: _Scratch,
    token_ids: torch.Tensor,
    first_row: int,
    grid: tuple[int, int],
    config: SamplingConfig,
) -> None:
    """The four passes over a slab of rows; `grid` is its chunks and rows."""
    is_early = can_launch_early(logits.device)
    vocab_size, stride = logits.shape[1], logits.stride(0)
    source = (logits, scratch.adjusted, scratch.chunk_best, scratch.row_state, scratch.histograms)
    changes = (rows.presence_penalties, rows.frequency_penalties, rows.repetition_penalties)
    counts = (rows.count_slots, rows.token_counts)
    biases = (rows.bias_token_ids, rows.bias_values, rows.num_biases)
    filters = (rows.temperatures, rows.top_ks, rows.top_ps, rows.min_ps)
    listed = (scratch.candidate_keys, scratch.candidate_tokens)
    seeds = (rows.seeds, rows.positions)
    shape = (vocab_size, stride, first_row, config.blocks_per_chunk)
    options = {"IS_EARLY": is_early, "launch_pdl": is_early}
    blocks = {"BLOCK": config.block, "num_warps": config.num_warps, **options}
    max_biases = rows.bias_token_ids.shape[1]
    adjust_kernel[grid](
        *source,
        *changes,
        *counts,
        *biases,
        rows.masks,
        rows.has_mask,
        max_biases,
        *shape,
        NUM_BINS=NUM_BINS.value,
        **blocks,
    )
    histogram_kernel[grid](*source, *filters, *shape, MAX_CHUNKS=MAX_CHUNKS, **blocks)
    draw_kernel[grid](*source, *listed, *filters, *seeds, *shape, MAX_CHUNKS=MAX_CHUNKS, **blocks)
    finish_kernel[grid[1:]](
        *source[2:],
        *listed,
        *filters[:3],
        *seeds,
        token_ids,
        vocab_size,
        first_row,
        grid[0],
        BLOCK=config.candidate_block,
        MAX_CHUNKS=MAX_CHUNKS,
        num_warps=config.num_finish_warps,
        **options,
    )
