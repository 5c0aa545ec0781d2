"""Which experts tokens choose, and in which order pairs are computed: parts of routing kernels.

Matrices are [tokens, experts]. A choice is how many experts the token had before this one, -1 where
it is none of its experts:

    expert   0  1  2  3        top_k 2: token 0 takes expert 2, then expert 0
    token 0  1 -1  0 -1
    token 1 -1  1  0 -1
"""

import triton
import triton.language as tl

_LOG2_E = tl.constexpr(1.4426950408889634)
_LOWEST = tl.constexpr(-3.0e38)
_BELOW_ALL = tl.constexpr(-(1 << 31))
# Sigmoids may all be zero in float32; their sum divides.
_SMALLEST_SUM = tl.constexpr(1e-20)


@triton.jit
def score_experts(logits, is_expert, IS_SIGMOID: tl.constexpr):
    """Scores of float32 logits; rows of padding may hold anything, and get some scores."""
    logits = tl.where(logits == logits, logits, _LOWEST)
    logits = tl.where(is_expert, tl.clamp(logits, _LOWEST, -_LOWEST), float("-inf"))
    if IS_SIGMOID:
        scores = 1 / (1 + tl.exp2(logits * -_LOG2_E))
    else:
        exponentials = tl.exp2((logits - tl.max(logits, axis=1)[:, None]) * _LOG2_E)
        scores = exponentials / tl.sum(exponentials, axis=1)[:, None]
    return tl.where(is_expert, scores, 0.0)


@triton.jit
def choose(ranked, COUNT: tl.constexpr):
    """The choices of the COUNT highest of each row; of equal ones the first.

    Of integers, a warp finds an extreme by one instruction, where tl.argmax exchanges pairs of
    values and columns in five steps: twice that is much less to wait for.
    """
    columns = tl.arange(0, ranked.shape[1])[None, :]
    choices = tl.full(ranked.shape, -1, tl.int32)
    keys = _integers_in_order(ranked)
    for choice in tl.static_range(COUNT):
        is_best = columns == _first_highest(keys)[:, None]
        choices = tl.where(is_best, choice, choices)
        keys = tl.where(is_best, _BELOW_ALL, keys)
    return choices


@triton.jit
def choose_one(ranked, choice):
    """The column of that choice in each row."""
    columns = tl.arange(0, ranked.shape[1])[None, :]
    keys = _integers_in_order(ranked)
    for _ in range(choice):
        keys = tl.where(columns == _first_highest(keys)[:, None], _BELOW_ALL, keys)
    return _first_highest(keys)


@triton.jit
def _first_highest(keys):
    """The column of each row's highest integer; of equal ones the first."""
    columns = tl.arange(0, keys.shape[1])[None, :]
    is_highest = keys == tl.max(keys, axis=1)[:, None]
    return tl.min(tl.where(is_highest, columns, keys.shape[1]), axis=1)


@triton.jit
def _integers_in_order(values):
    """Integers in the order of float32 values, above _BELOW_ALL; none may be NaN or -0.0."""
    bits = values.to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def limit_to_groups(
    ranked,
    NUM_EXPERTS: tl.constexpr,
    NUM_GROUPS: tl.constexpr,
    NUM_CHOSEN: tl.constexpr,
    NUM_COUNTED: tl.constexpr,
    BLOCK_GROUPS: tl.constexpr,
):
    """The same with nothing left of the groups that are not chosen."""
    group_of_expert = tl.arange(0, ranked.shape[1])[None, :] // (NUM_EXPERTS // NUM_GROUPS)
    groups = tl.arange(0, BLOCK_GROUPS)[None, :]
    group_scores = tl.full([ranked.shape[0], BLOCK_GROUPS], float("-inf"), tl.float32)
    for group in tl.static_range(NUM_GROUPS):
        members = tl.where(group_of_expert == group, ranked, float("-inf"))
        counted = choose(members, NUM_COUNTED) >= 0
        total = tl.sum(tl.where(counted, members, 0.0), axis=1)
        group_scores = tl.where(groups == group, total[:, None], group_scores)
    chosen = choose(group_scores, NUM_CHOSEN)
    is_left = tl.full(ranked.shape, 0, tl.int1)
    for group in tl.static_range(NUM_GROUPS):
        is_chosen = tl.max(tl.where(groups == group, chosen, -1), axis=1) >= 0
        is_left |= is_chosen[:, None] & (group_of_expert == group)
    return tl.where(is_left, ranked, float("-inf"))


@triton.jit
def weigh(scores, choices, RENORMALIZES: tl.constexpr, scale):
    """The weights of the chosen experts."""
    if RENORMALIZES:
        total = tl.sum(tl.where(choices >= 0, scores, 0.0), axis=1)
        scores = scores / tl.maximum(total, _SMALLEST_SUM)[:, None]
    return scores * scale


@triton.jit
def place_pairs(pairs_ptr, choices, is_chosen, first_positions, tokens, TOP_K: tl.constexpr):
    """Lists pairs expert by expert, from first_positions, [experts], on; tokens in their order."""
    chosen = is_chosen.to(tl.int32)
    ranks = tl.cumsum(chosen, axis=0) - chosen
    positions = first_positions[None, :] + ranks
    tl.store(pairs_ptr + positions, tokens[:, None] * TOP_K + choices, is_chosen)


@triton.jit
def list_tiles(
    tiles_ptr, num_tiles_ptr, counts, BLOCK_PAIRS: tl.constexpr, MAX_COUNT: tl.constexpr
):
    """Cuts the list of pairs so that a tile has pairs of one expert: (expert, start, end).

    Args:
        MAX_COUNT: no count is higher; None if that is not known

    Returns:
        [experts] where the pairs of each begin
    """
    starts = tl.cumsum(counts, axis=0) - counts
    num_tiles = (counts + BLOCK_PAIRS - 1) // BLOCK_PAIRS
    first_tiles = tl.cumsum(num_tiles, axis=0) - num_tiles
    experts = tl.arange(0, counts.shape[0])
    tl.store(num_tiles_ptr, tl.sum(num_tiles, axis=0))
    tile_ptrs = tiles_ptr + first_tiles * 4
    ends = starts + counts
    if MAX_COUNT is not None and MAX_COUNT <= BLOCK_PAIRS:
        _store_tiles(tile_ptrs, experts, starts, ends, num_tiles > 0)
    else:
        for index in range(0, tl.max(num_tiles, axis=0)):
            start = starts + index * BLOCK_PAIRS
            end = tl.minimum(start + BLOCK_PAIRS, ends)
            _store_tiles(tile_ptrs + index * 4, experts, start, end, index < num_tiles)
    return starts


@triton.jit
def _store_tiles(tile_ptrs, experts, starts, ends, is_tile):
    tl.store(tile_ptrs, experts, is_tile)
    tl.store(tile_ptrs + 1, starts, is_tile)
    tl.store(tile_ptrs + 2, ends, is_tile)
