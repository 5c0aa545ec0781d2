"""The race of the tokens that stay, decided as late as filters make it.

    draw    (row, chunk)  [stays for sure] -> race       [in question] -> list of candidates
    finish  (row)         candidates -> limit -> race -> token

A token's time in the race depends on the row's seed and position alone, so the race may be run in
parts: every part hands in its winner as a packed token, and the greatest of them is drawn.
"""

import triton
import triton.language as tl

from legato.kernels.gpu.logit_adjustments import (
    BEST_DRAW,
    IS_ADJUSTED,
    KEPT_MASS,
    NUM_CANDIDATES,
    OTHER_MASS,
    STATE_SIZE,
    load_logits,
    row_best,
    wait_in_turn,
)
from legato.kernels.gpu.packed_tokens import NOTHING, pack, packed_token, packed_value
from legato.kernels.gpu.random import run_log_noise, token_log_noise
from legato.kernels.gpu.sampling_filters import (
    NUM_BINS,
    bins_in_question,
    bins_of,
    candidate_limit,
    distances,
    masses_of,
    min_p_distance,
)


@triton.jit(do_not_specialize=["first_row", "blocks_per_chunk"])
def draw_kernel(
    logits,  # [rows, vocab]
    adjusted,  # [slab rows, vocab]
    chunk_best,  # [slab rows, chunks]
    row_state,  # [slab rows, STATE_SIZE]
    histograms,  # [slab rows, NUM_BINS]
    candidate_keys,  # [slab rows, vocab]
    candidate_tokens,
    temperatures,
    top_ks,
    top_ps,
    min_ps,
    seeds,
    positions,
    vocab_size,
    logits_stride,
    first_row,
    blocks_per_chunk,
    BLOCK: tl.constexpr,
    MAX_CHUNKS: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    chunk, slab_row = tl.program_id(0), tl.program_id(1).to(tl.int64)
    row = first_row + slab_row
    temperature = tl.load(temperatures + row)
    if IS_EARLY:
        wait_in_turn(temperature > 0)
    if temperature > 0:
        top_k, top_p = tl.load(top_ks + row), tl.load(top_ps + row)
        first, last = tl.full([], NUM_BINS - 1, tl.int32), tl.full([], -1, tl.int32)
        kth = tl.full([], NUM_BINS, tl.int32)
        if (top_k < vocab_size) | (top_p < 1):
            histogram = histograms + slab_row * NUM_BINS
            first, last, kth, _ = bins_in_question(histogram, top_k, top_p, vocab_size)
        greatest = packed_value(row_best(chunk_best, slab_row, tl.num_programs(0), MAX_CHUNKS))
        farthest = min_p_distance(tl.load(min_ps + row))
        state = row_state + slab_row * STATE_SIZE
        is_adjusted = tl.load(state + IS_ADJUSTED) != 0
        logits_row, adjusted_row = logits + row * logits_stride, adjusted + slab_row * vocab_size
        seed, position = tl.load(seeds + row), tl.load(positions + row)
        start = chunk * blocks_per_chunk * BLOCK
        end = tl.minimum(start + blocks_per_chunk * BLOCK, vocab_size)
        best = tl.full([], NOTHING, tl.int64)
        kept_mass, other_mass = tl.full([], 0, tl.int64), tl.full([], 0, tl.int64)
        for block_start in range(start, end, BLOCK):
            tokens = block_start + tl.arange(0, BLOCK)
            values = load_logits(logits_row, adjusted_row, is_adjusted, tokens, tokens < end)
            found = distances(values, greatest, temperature, farthest)
            bins = bins_of(found)
            stays = bins < first
            is_candidate = ((bins >= first) & (bins <= last)) | (bins == kth)
            numbers = tl.sum(stays.to(tl.int32) + (is_candidate.to(tl.int32) << 16), axis=0)
            num_staying, num_new = numbers & 0xFFFF, (numbers >> 16).to(tl.int64)
            if top_p < 1:
                masses = masses_of(found)
                is_other = (bins < kth) & ~stays & ~is_candidate
                kept_mass += tl.sum(tl.where(stays, masses, 0), axis=0)
                other_mass += tl.sum(tl.where(is_other, masses, 0), axis=0)
            if num_new > 0:
                num_listed = tl.atomic_add(state + NUM_CANDIDATES, num_new, sem="relaxed")
                entries = num_listed + tl.cumsum(is_candidate.to(tl.int32), axis=0) - 1
                entries += slab_row * vocab_size
                keys = found.to(tl.int32, bitcast=True)
                tl.store(candidate_keys + entries, keys, is_candidate)
                tl.store(candidate_tokens + entries, tokens, is_candidate)
            if num_staying > 0:
                values = -found - run_log_noise(seed, position, block_start, BLOCK)
                packed = tl.where(stays, pack(values, tokens), NOTHING)
                best = tl.maximum(best, tl.max(packed, axis=0))
        tl.atomic_max(state + BEST_DRAW, best, sem="relaxed")
        if top_p < 1:
            tl.atomic_add(state + KEPT_MASS, kept_mass, sem="relaxed")
            tl.atomic_add(state + OTHER_MASS, other_mass, sem="relaxed")


@triton.jit(do_not_specialize=["first_row", "num_chunks"])
def finish_kernel(
    chunk_best,  # [slab rows, chunks]
    row_state,  # [slab rows, STATE_SIZE]
    histograms,  # [slab rows, NUM_BINS]
    candidate_keys,  # [slab rows, vocab]
    candidate_tokens,
    temperatures,
    top_ks,
    top_ps,
    seeds,
    positions,
    token_ids,
    vocab_size,
    first_row,
    num_chunks,
    BLOCK: tl.constexpr,
    MAX_CHUNKS: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    slab_row = tl.program_id(0).to(tl.int64)
    row = first_row + slab_row
    likeliest = row_best(chunk_best, slab_row, num_chunks, MAX_CHUNKS)
    chosen = likeliest
    if tl.load(temperatures + row) > 0:
        state = row_state + slab_row * STATE_SIZE
        best = tl.load(state + BEST_DRAW)
        num_candidates = tl.load(state + NUM_CANDIDATES).to(tl.int32)
        if num_candidates > 0:
            top_p = tl.load(top_ps + row)
            keys = candidate_keys + slab_row * vocab_size
            _, last, kth, rank = bins_in_question(
                histograms + slab_row * NUM_BINS, tl.load(top_ks + row), top_p, vocab_size
            )
            limit = candidate_limit(
                keys,
                num_candidates,
                last,
                kth,
                rank,
                top_p,
                tl.load(state + KEPT_MASS),
                tl.load(state + OTHER_MASS),
                BLOCK,
            )
            seed, position = tl.load(seeds + row), tl.load(positions + row)
            for start in range(0, num_candidates, BLOCK):
                entries = start + tl.arange(0, BLOCK)
                is_entry = entries < num_candidates
                tokens = tl.load(candidate_tokens + slab_row * vocab_size + entries, is_entry)
                found = tl.load(keys + entries, is_entry, other=0x7FFFFFFF)
                values = -found.to(tl.float32, bitcast=True)
                values -= token_log_noise(seed, position, tokens)
                packed = tl.where(found <= limit, pack(values, tokens), NOTHING)
                best = tl.maximum(best, tl.max(packed, axis=0))
        # Without a number among its logits, a row has nothing to draw from.
        chosen = tl.where(best == NOTHING, likeliest, best)
    tl.store(token_ids + row, packed_token(chosen).to(tl.int64))
