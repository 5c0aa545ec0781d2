"""First pass of sampling: bias, penalties, masks, and the likeliest token of every chunk.

                 chunk 0        chunk 1        chunk 2
    row 0     [ program 0, 0 | program 0, 1 | program 0, 2 ]  -> chunk_best [rows, chunks]
    row 1     [ program 1, 0 | ...                         ]

Rows that ask for a change get a changed copy of their logits in float32; `row_state` says which
row has one. Other rows are read once and nothing of them is written. Program 0 of a row also resets
what later passes gather for the row.

NaN counts as less than everything; a row of nothing else has token 0 as its likeliest.
"""

import triton
import triton.language as tl

from legato.kernels.gpu.packed_tokens import NOTHING, pack

# Entries of a row's state, int64 [rows, STATE_SIZE].
STATE_SIZE = tl.constexpr(8)
BEST_DRAW = tl.constexpr(0)  # a packed token
KEPT_MASS = tl.constexpr(1)  # of tokens that top-p keeps for sure
OTHER_MASS = tl.constexpr(2)  # of tokens that top-k keeps for sure and top-p drops for sure
NUM_CANDIDATES = tl.constexpr(3)
IS_ADJUSTED = tl.constexpr(4)

_BIAS_BLOCK = tl.constexpr(128)


@triton.jit(do_not_specialize=["max_biases", "first_row", "blocks_per_chunk"])
def adjust_kernel(
    logits,  # [rows, vocab]
    adjusted,  # [slab rows, vocab]
    chunk_best,  # [slab rows, chunks]
    row_state,  # [slab rows, STATE_SIZE]
    histograms,  # [slab rows, NUM_BINS]
    presence_penalties,
    frequency_penalties,
    repetition_penalties,
    count_slots,
    token_counts,
    bias_token_ids,
    bias_values,
    num_biases,
    masks,
    has_mask,
    max_biases,
    vocab_size,
    logits_stride,
    first_row,
    blocks_per_chunk,
    BLOCK: tl.constexpr,
    NUM_BINS: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    chunk, slab_row = tl.program_id(0), tl.program_id(1).to(tl.int64)
    row = first_row + slab_row
    start = chunk * blocks_per_chunk * BLOCK
    end = tl.minimum(start + blocks_per_chunk * BLOCK, vocab_size)
    slot, row_biases = tl.load(count_slots + row), tl.load(num_biases + row)
    is_masked = tl.load(has_mask + row) != 0
    is_adjusted = (slot >= 0) | (row_biases > 0) | is_masked
    logits_row, adjusted_row = logits + row * logits_stride, adjusted + slab_row * vocab_size
    if chunk == 0:
        _reset_row(row_state, histograms, slab_row, is_adjusted, NUM_BINS)
    if is_adjusted:
        counts_row = token_counts + tl.maximum(slot, 0).to(tl.int64) * vocab_size
        mask_row = masks + row * tl.cdiv(vocab_size, 32)
        presence, frequency = tl.load(presence_penalties + row), tl.load(frequency_penalties + row)
        repetition = tl.load(repetition_penalties + row)
        for block_start in range(start, end, BLOCK):
            tokens = block_start + tl.arange(0, BLOCK)
            is_token = tokens < end
            values = tl.load(logits_row + tokens, is_token, other=0.0).to(tl.float32)
            counts = tl.load(counts_row + tokens, is_token & (slot >= 0), other=0)
            words = tl.load(mask_row + tokens // 32, is_token & is_masked, other=-1)
            values = _adjust(values, tokens, counts, words, presence, frequency, repetition)
            tl.store(adjusted_row + tokens, values, is_token)
        tl.debug_barrier()  # what follows overwrites what other threads have stored
        for entry_start in range(0, row_biases, _BIAS_BLOCK):
            entries = entry_start + tl.arange(0, _BIAS_BLOCK)
            is_entry = entries < row_biases
            tokens = tl.load(bias_token_ids + row * max_biases + entries, is_entry, other=-1)
            is_token = (tokens >= start) & (tokens < end)
            biases = tl.load(bias_values + row * max_biases + entries, is_token, other=0.0)
            values = tl.load(logits_row + tokens, is_token, other=0.0).to(tl.float32) + biases
            counts = tl.load(counts_row + tokens, is_token & (slot >= 0), other=0)
            words = tl.load(mask_row + tokens // 32, is_token & is_masked, other=-1)
            values = _adjust(values, tokens, counts, words, presence, frequency, repetition)
            tl.store(adjusted_row + tokens, values, is_token)
        tl.debug_barrier()
    best = _best_of_chunk(logits_row, adjusted_row, is_adjusted, start, end, BLOCK)
    tl.store(chunk_best + slab_row * tl.num_programs(0) + chunk, best)


@triton.jit
def wait_in_turn(has_work):
    """Waits for the pass before, and lets the next one start.

    Programs without work leave while the pass before still runs: they read nothing of it. One waits
    for all of them, as a pass must not seem to be over before the one before it.
    """
    tl.extra.cuda.gdc_launch_dependents()
    if has_work | (tl.program_id(0) + tl.program_id(1) == 0):
        tl.extra.cuda.gdc_wait()


@triton.jit
def load_logits(logits_row, adjusted_row, is_adjusted, tokens, is_token):
    """The row's logits as they count, in float32; NaN where there is no token."""
    if is_adjusted:
        values = tl.load(adjusted_row + tokens, is_token, other=float("nan"))
    else:
        values = tl.load(logits_row + tokens, is_token, other=float("nan")).to(tl.float32)
    return values


@triton.jit
def row_best(chunk_best, slab_row, num_chunks, MAX_CHUNKS: tl.constexpr):
    """The row's likeliest token, packed."""
    chunks = tl.arange(0, MAX_CHUNKS)
    best = tl.load(chunk_best + slab_row * num_chunks + chunks, chunks < num_chunks, other=NOTHING)
    return tl.max(best, axis=0)


@triton.jit
def _reset_row(row_state, histograms, slab_row, is_adjusted, NUM_BINS: tl.constexpr):
    entries = tl.arange(0, STATE_SIZE)
    state = tl.where(entries == BEST_DRAW, NOTHING, 0)
    state = tl.where(entries == IS_ADJUSTED, is_adjusted.to(tl.int64), state)
    tl.store(row_state + slab_row * STATE_SIZE + entries, state)
    bins = tl.arange(0, NUM_BINS)
    tl.store(histograms + slab_row * NUM_BINS + bins, tl.zeros([NUM_BINS], tl.int32))


@triton.jit
def _adjust(values, tokens, counts, words, presence, frequency, repetition):
    repeated = tl.where(values > 0, tl.div_rn(values, repetition), values * repetition)
    values = tl.where(counts != 0, repeated, values)
    in_output = (counts & 0x7FFF).to(tl.float32)
    values = tl.where(in_output > 0, values - (presence + frequency * in_output), values)
    is_allowed = (words >> (tokens % 32)) & 1 != 0
    return tl.where(is_allowed, values, float("-inf"))


@triton.jit
def _best_of_chunk(logits_row, adjusted_row, is_adjusted, start, end, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    best_values = tl.full([BLOCK], float("-inf"), tl.float32)
    best_tokens = start + lanes
    for block_start in range(start, end, BLOCK):
        tokens = block_start + lanes
        values = load_logits(logits_row, adjusted_row, is_adjusted, tokens, tokens < end)
        is_better = values > best_values
        best_values = tl.where(is_better, values, best_values)
        best_tokens = tl.where(is_better, tokens, best_tokens)
    packed = tl.where(best_tokens < end, pack(best_values, best_tokens), NOTHING)
    return tl.max(packed, axis=0)
