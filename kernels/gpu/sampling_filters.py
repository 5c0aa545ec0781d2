"""min-p, top-k and top-p without a sort: what stays is found from counts, then from few candidates.

A token's distance is how far its log probability is below the likeliest one's. Distances fall into
256 bins (Triton's histogram costs time in proportion), finer near zero: a bin is the upper bits of
distance + 2, so widths are 1/32 up to 2, then 1/16 up to 6, 1/8 up to 14, 1/4 up to 30. A histogram
of a row leaves few bins in question:

    bin      0                first   last          kth            NUM_BINS - 1
             [ kept for sure ][ top-p? ][ dropped ][ the k-th ][ dropped ][ never drawn ]

A bin's count bounds its probability, and so says where top-p ends but for a bin or two. What is in
question is a candidate; `candidate_limit` finds among them the exact distance up to which tokens
stay, by bisection of its bits. Sums of probabilities are integers: no order of adding changes them.

A distance beyond the last bin's start, 29.75, loses every race against the likeliest token,
whatever the noise; so do NaN and what min-p or a mask drops, which are put at infinity.
"""

import triton
import triton.language as tl

from legato.kernels.gpu.logit_adjustments import (
    IS_ADJUSTED,
    STATE_SIZE,
    load_logits,
    row_best,
    wait_in_turn,
)
from legato.kernels.gpu.packed_tokens import packed_value

NUM_BINS = tl.constexpr(256)
_FIRST_BITS = tl.constexpr(0x40000000)  # of 2.0
_BIN_SHIFT = tl.constexpr(17)  # 64 bins for each power of two
_END = tl.constexpr(30.0)
# More than what the sum of a distance and 2 is rounded by.
_EDGE_MARGIN = tl.constexpr(1e-5)
# Of the float32 sums over bins: far more than their rounding, and that of the edges.
_BOUND_MARGIN = tl.constexpr(1e-4)
# Probabilities relative to the likeliest one are integers in this unit; 2**18 of them fit int64.
_MASS_UNIT = tl.constexpr(2.0**44)
# Greater than that of any candidate.
_INFINITY_KEY = tl.constexpr(0x7F800000)


@triton.jit(do_not_specialize=["first_row", "blocks_per_chunk"])
def histogram_kernel(
    logits,  # [rows, vocab]
    adjusted,  # [slab rows, vocab]
    chunk_best,  # [slab rows, chunks]
    row_state,  # [slab rows, STATE_SIZE]
    histograms,  # [slab rows, NUM_BINS], zero
    temperatures,
    top_ks,
    top_ps,
    min_ps,
    vocab_size,
    logits_stride,
    first_row,
    blocks_per_chunk,
    BLOCK: tl.constexpr,
    MAX_CHUNKS: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    """Counts the tokens in each bin, for rows with top-k or top-p."""
    chunk, slab_row = tl.program_id(0), tl.program_id(1).to(tl.int64)
    row = first_row + slab_row
    temperature = tl.load(temperatures + row)
    if IS_EARLY:
        wait_in_turn(temperature > 0)
    is_filtered = (tl.load(top_ks + row) < vocab_size) | (tl.load(top_ps + row) < 1)
    if (temperature > 0) & is_filtered:
        greatest = packed_value(row_best(chunk_best, slab_row, tl.num_programs(0), MAX_CHUNKS))
        farthest = min_p_distance(tl.load(min_ps + row))
        is_adjusted = tl.load(row_state + slab_row * STATE_SIZE + IS_ADJUSTED) != 0
        logits_row, adjusted_row = logits + row * logits_stride, adjusted + slab_row * vocab_size
        start = chunk * blocks_per_chunk * BLOCK
        end = tl.minimum(start + blocks_per_chunk * BLOCK, vocab_size)
        counts = tl.zeros([NUM_BINS], tl.int32)
        for block_start in range(start, end, BLOCK):
            tokens = block_start + tl.arange(0, BLOCK)
            values = load_logits(logits_row, adjusted_row, is_adjusted, tokens, tokens < end)
            found = distances(values, greatest, temperature, farthest)
            counts += tl.histogram(bins_of(found), NUM_BINS)
        bins = tl.arange(0, NUM_BINS)
        # Nobody reads the last bin, where masked lanes are.
        is_counted = (counts > 0) & (bins < NUM_BINS - 1)
        tl.atomic_add(histograms + slab_row * NUM_BINS + bins, counts, is_counted, sem="relaxed")


@triton.jit
def min_p_distance(min_p):
    """The distance up to which min-p keeps tokens; infinite where there is no min-p."""
    return tl.where(min_p > 0, -tl.log(tl.maximum(min_p, 1e-30)), float("inf"))


@triton.jit
def distances(values, greatest, temperature, farthest):
    found = tl.div_rn(greatest - values, temperature)
    return tl.where(found <= farthest, found, float("inf"))


@triton.jit
def bins_of(found):
    bits = (tl.minimum(found, _END) + 2.0).to(tl.int32, bitcast=True)
    return tl.minimum((bits - _FIRST_BITS) >> _BIN_SHIFT, NUM_BINS - 1)


@triton.jit
def _bin_distance(bins):
    """The least distance in a bin, but for rounding."""
    return ((bins << _BIN_SHIFT) + _FIRST_BITS).to(tl.float32, bitcast=True) - 2.0


@triton.jit
def masses_of(found):
    """Probability relative to the likeliest token's, in units of 1 / _MASS_UNIT."""
    return (tl.exp(-found) * _MASS_UNIT).to(tl.int64)


@triton.jit
def bins_in_question(histogram, top_k, top_p, vocab_size):
    """Which bins a row's filters end in.

    Returns:
        first, last: bins before `first` stay, bins after `last` go
        kth: the bin of the k-th likeliest token, NUM_BINS if top-k drops nothing that matters
        rank: the k-th token's place among the candidates: the tokens of these bins
    """
    bins = tl.arange(0, NUM_BINS)
    counts = tl.load(histogram + bins)
    num_until = tl.cumsum(counts, axis=0)
    kth = tl.sum((num_until < top_k).to(tl.int32), axis=0)
    kth = tl.where((top_k < vocab_size) & (kth < NUM_BINS - 1), kth, NUM_BINS)

    in_top_k = tl.minimum(num_until, top_k) - tl.minimum(num_until - counts, top_k)
    first, last = _top_p_bins(in_top_k, top_p)
    # The last bin is never drawn from.
    first, last = tl.minimum(first, kth), tl.minimum(tl.minimum(last, kth), NUM_BINS - 2)

    is_listed = (bins >= first) & (bins <= last)
    num_unlisted = tl.sum(tl.where((bins < kth) & ~is_listed, counts, 0), axis=0)
    return first, last, kth, top_k - num_unlisted


@triton.jit
def _top_p_bins(counts, top_p):
    """First and last bin that top-p may end in; where it keeps all, the last bin and -1.

    A bin goes when the bins before it have the share `top_p`, which is when it and the bins after
    it have no more than the rest. Of the two sums, the smaller one has the closer bounds.

    Args:
        counts: [NUM_BINS] of the tokens that top-k keeps
    """
    bins = tl.arange(0, NUM_BINS)
    most = counts * tl.exp(-_bin_distance(bins)) * (1 + _BOUND_MARGIN)
    least = counts * tl.exp(-_bin_distance(bins + 1)) * (1 - _BOUND_MARGIN)
    most_total, least_total = tl.sum(most, axis=0), tl.sum(least, axis=0)
    most_until, least_until = tl.cumsum(most, axis=0), tl.cumsum(least, axis=0)
    most_from, least_from = tl.cumsum(most, 0, reverse=True), tl.cumsum(least, 0, reverse=True)

    stays = (most_until < top_p * least_total) | (least_from - least > (1 - top_p) * most_total)
    goes = (least_until - least >= top_p * most_total) | (most_from <= (1 - top_p) * least_total)
    first = tl.sum(stays.to(tl.int32), axis=0)
    last = tl.maximum(tl.sum((~goes).to(tl.int32), axis=0) - 1, 0)
    is_whole = top_p >= 1
    return tl.where(is_whole, NUM_BINS - 1, first), tl.where(is_whole, -1, last)


@triton.jit
def candidate_limit(
    keys, num_candidates, last, kth, rank, top_p, kept_mass, other_mass, BLOCK: tl.constexpr
):
    """Bits of the greatest distance that stays; as integers they sort like distances.

    Args:
        keys: bits of the candidates' distances, `num_candidates` of them, at least one
        last, kth, rank: see `bins_in_question`
        kept_mass, other_mass: of tokens in top-k that are no candidates: nearer, and farther
    """
    limit = tl.full([], _INFINITY_KEY, tl.int32)
    nearest, farthest = _key_range(keys, num_candidates, BLOCK)
    if kth < NUM_BINS:
        low = tl.maximum(_least_key(kth), nearest)
        limit = _kth_key(keys, num_candidates, rank, low, farthest, BLOCK)
    if top_p < 1:
        nearer, num_nearer = _sums_below(keys, num_candidates, limit, BLOCK)
        mass = kept_mass + other_mass + nearer
        if kth < NUM_BINS:
            kth_mass = masses_of(limit.to(tl.float32, bitcast=True))
            mass += (rank - num_nearer) * kth_mass
        share = top_p.to(tl.float64) * mass.to(tl.float64)
        low, high = nearest, tl.minimum(_greatest_key(last), farthest)
        while low < high:
            middle = low + (high - low + 1) // 2
            nearer, num_nearer = _sums_below(keys, num_candidates, middle, BLOCK)
            if (kept_mass + nearer).to(tl.float64) < share:
                low = middle
            else:
                high = middle - 1
        limit = tl.minimum(limit, low)
    return limit


@triton.jit
def _key_range(keys, num_candidates, BLOCK: tl.constexpr):
    least = tl.full([BLOCK], _INFINITY_KEY, tl.int32)
    greatest = tl.zeros([BLOCK], tl.int32)
    for start in range(0, num_candidates, BLOCK):
        entries = start + tl.arange(0, BLOCK)
        is_entry = entries < num_candidates
        least = tl.minimum(least, tl.load(keys + entries, is_entry, other=_INFINITY_KEY))
        greatest = tl.maximum(greatest, tl.load(keys + entries, is_entry, other=0))
    return tl.min(least, axis=0), tl.max(greatest, axis=0)


@triton.jit
def _kth_key(keys, num_candidates, rank, low, high, BLOCK: tl.constexpr):
    """The least key in `low` to `high` that `rank` candidates do not exceed."""
    while low < high:
        middle = low + (high - low) // 2
        count = tl.zeros([BLOCK], tl.int32)
        for start in range(0, num_candidates, BLOCK):
            entries = start + tl.arange(0, BLOCK)
            found = tl.load(keys + entries, entries < num_candidates, other=_INFINITY_KEY)
            count += (found <= middle).to(tl.int32)
        if tl.sum(count, axis=0) >= rank:
            high = middle
        else:
            low = middle + 1
    return low


@triton.jit
def _sums_below(keys, num_candidates, limit, BLOCK: tl.constexpr):
    """Mass and number of the candidates with keys less than `limit`."""
    mass = tl.zeros([BLOCK], tl.int64)
    count = tl.zeros([BLOCK], tl.int32)
    for start in range(0, num_candidates, BLOCK):
        entries = start + tl.arange(0, BLOCK)
        found = tl.load(keys + entries, entries < num_candidates, other=_INFINITY_KEY)
        is_nearer = found < limit
        mass += tl.where(is_nearer, masses_of(found.to(tl.float32, bitcast=True)), 0)
        count += is_nearer.to(tl.int32)
    return tl.sum(mass, axis=0), tl.sum(count, axis=0)


@triton.jit
def _least_key(bin):
    """No key of the bin is less."""
    return tl.maximum(_bin_distance(bin) - _EDGE_MARGIN, 0.0).to(tl.int32, bitcast=True)


@triton.jit
def _greatest_key(bin):
    """No key of the bin is greater."""
    return (_bin_distance(bin + 1) + _EDGE_MARGIN).to(tl.int32, bitcast=True)
