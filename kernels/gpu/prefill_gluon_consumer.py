"""A consumer of prefill_attention_gluon.py: what computes half of a tile's rows.

Scores are those of the current step, sums those of the one before:

    start scores(n) | start sums(n - 1) | wait for scores | softmax(n) | wait for sums | scale sums
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from legato.kernels.gpu.prefill_gluon_loader import (
    BLOCK_N,
    ROWS,
    arrive,
    item_of,
    steps_of,
    wait_for,
)

_LOG2_E = gl.constexpr(1.4426950408889634)


@gluon.jit
def consume(
    work, consumer, memory, HALF: gl.constexpr, GROUP: gl.constexpr, HAS_WINDOW: gl.constexpr
):
    """Computes a half (0 or 1) of each of the program's tiles."""
    tiles, num_items, num_kv_heads, window = work
    _, _, output, context_lens, score_scale, value_scale, sinks = consumer
    queries, _, _, slots = memory
    _, _, _, _, _, values_free = slots
    HEAD_DIM: gl.constexpr = queries.shape[1]
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, HEAD_DIM, 16])
    item = item_of(0)
    if item < num_items:
        queries.store(_load_queries(item, work, consumer, HALF, GROUP, HEAD_DIM))
        fence_async_shared()
    step = 0
    for round_index in range(gl.cdiv(num_items, gl.num_programs(0))):
        item = item_of(round_index)
        if item < num_items:
            tile = tiles + item // num_kv_heads * 4
            num_keys = gl.load(context_lens + gl.load(tile))
            first, whole_begin, whole_end, last = steps_of(tile, window, HAS_WINDOW)
            seen = (tile, window, score_scale, last - first + 1)
            state = _first_step(memory, seen, step, last, num_keys, HALF, GROUP, HAS_WINDOW)
            state = _walk(
                state, memory, seen, step, last, last, whole_end, HALF, GROUP, True, HAS_WINDOW
            )
            state = _walk(
                state, memory, seen, step, last, whole_end, whole_begin, HALF, GROUP, False, False
            )
            if HAS_WINDOW:
                state = _walk(
                    state, memory, seen, step, last, whole_begin, first, HALF, GROUP, True, True
                )
            sums, weights, total, largest = state
            if sinks is not None:
                total += _sink_weights(sinks, largest, item % num_kv_heads, HALF, GROUP)
            step += last - first
            sums = _start_sums(sums, weights, memory, step)
            # The next tile's queries are on their way while this one's output is written.
            next_item = gl.minimum(item_of(round_index + 1), num_items - 1)
            next_queries = _load_queries(next_item, work, consumer, HALF, GROUP, HEAD_DIM)
            sums = warpgroup_mma_wait(0, deps=[sums])
            arrive(values_free, step)
            step += 1
            factor = gl.convert_layout(value_scale / total, gl.SliceLayout(1, layout))
            _store_output(sums * factor[:, None], queries, output, item, work, HALF, GROUP)
            queries.store(next_queries)
            fence_async_shared()


@gluon.jit
def _sink_weights(sinks, largest, kv_head, HALF: gl.constexpr, GROUP: gl.constexpr):
    """What a consumer's rows give to the sinks of their heads, [ROWS]; as weights of keys are."""
    tile_row = HALF * ROWS + gl.arange(0, ROWS, largest.type.layout)
    scores = gl.load(sinks + kv_head * GROUP + tile_row % GROUP).to(gl.float32)
    return gl.exp2(scores * _LOG2_E - largest)


@gluon.jit
def _load_queries(
    item, work, consumer, HALF: gl.constexpr, GROUP: gl.constexpr, HEAD_DIM: gl.constexpr
):
    """[ROWS, HEAD_DIM] of a consumer's half of a tile."""
    query, query_stride, _, _, _, _, _ = consumer
    row, head, feature, _is_query = _places(item, work, HALF, GROUP, HEAD_DIM)
    place = row * query_stride + head * HEAD_DIM
    return gl.load(query + place[:, None] + feature[None, :])


@gluon.jit
def _store_output(result, queries, output, item, work, HALF: gl.constexpr, GROUP: gl.constexpr):
    """Writes a consumer's half of a tile, by way of the queries' memory: into whole rows."""
    HEAD_DIM: gl.constexpr = queries.shape[1]
    wide: gl.constexpr = _wide_layout(HEAD_DIM)
    queries.store(result.to(queries.dtype))
    _, _, num_kv_heads, _ = work
    row, head, feature, is_query = _places(item, work, HALF, GROUP, HEAD_DIM)
    place = (row * (num_kv_heads * GROUP) + head) * HEAD_DIM
    gl.store(output + place[:, None] + feature[None, :], queries.load(wide), mask=is_query[:, None])


@gluon.constexpr_function
def _wide_layout(head_dim):
    """Of rows, such that threads have 16 adjacent bytes, and warps have whole rows."""
    return gl.BlockedLayout([1, 8], [256 // head_dim, head_dim // 8], [4, 1], [1, 0])


@gluon.jit
def _places(item, work, HALF: gl.constexpr, GROUP: gl.constexpr, HEAD_DIM: gl.constexpr):
    """Row and head of the query in each of a consumer's rows, and whether there is one.

    Rows beyond the queries are the last query again.
    """
    tiles, _, num_kv_heads, _ = work
    wide: gl.constexpr = _wide_layout(HEAD_DIM)
    tile = tiles + item // num_kv_heads * 4
    num_queries = gl.load(tile + 2)
    tile_row = HALF * ROWS + gl.arange(0, ROWS, gl.SliceLayout(1, wide))
    row = gl.load(tile + 1) + gl.minimum(tile_row // GROUP, num_queries - 1)
    head = item % num_kv_heads * GROUP + tile_row % GROUP
    feature = gl.arange(0, HEAD_DIM, gl.SliceLayout(0, wide))
    return row.to(gl.int64), head, feature, tile_row < num_queries * GROUP


@gluon.jit
def _start_scores(memory, step, HALF: gl.constexpr):
    """Starts the products of the queries with keys that are there, when it is our turn."""
    queries, my_turn, _, slots = memory
    keys, _, _, _, _, _ = slots
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, BLOCK_N, 16])
    # The first to go is consumer 0: its barrier counts as completed.
    wait_for(my_turn, step, 1 - HALF)
    zeros = gl.zeros([ROWS, BLOCK_N], gl.float32, layout)
    step_keys = keys.index(step % keys.shape[0]).permute((1, 0))
    return warpgroup_mma(queries, step_keys, zeros, use_acc=False, is_async=True)


@gluon.jit
def _start_sums(sums, weights, memory, step):
    """Starts the products of the weights with a step's values."""
    _, values, _, _, values_filled, _ = memory[3]
    wait_for(values_filled, step, 0)
    return warpgroup_mma(weights, values.index(step % values.shape[0]), sums, is_async=True)


@gluon.jit
def _softmax(
    scores,
    largest,
    seen,
    step_of_keys,
    HALF: gl.constexpr,
    GROUP: gl.constexpr,
    IS_MASKED: gl.constexpr,
    HAS_WINDOW: gl.constexpr,
):
    """Weights of the scores, and the largest score so far, in powers of two."""
    tile, window, score_scale, _ = seen
    layout: gl.constexpr = scores.type.layout
    if IS_MASKED:
        tile_row = HALF * ROWS + gl.arange(0, ROWS, gl.SliceLayout(1, layout))
        query_index = gl.minimum(tile_row // GROUP, gl.load(tile + 2) - 1)
        position = gl.load(tile + 3) + query_index
        key = step_of_keys * BLOCK_N + gl.arange(0, BLOCK_N, gl.SliceLayout(0, layout))
        is_visible = key[None, :] <= position[:, None]
        if HAS_WINDOW:
            is_visible = is_visible & (key[None, :] > position[:, None] - window)
        scores = gl.where(is_visible, scores, -float("inf"))
    new_largest = gl.maximum(largest, gl.max(scores, 1) * score_scale)
    return gl.exp2(scores * score_scale - new_largest[:, None]), new_largest


@gluon.jit
def _as_operand(weights, dtype: gl.constexpr, sums_layout: gl.constexpr):
    return gl.convert_layout(weights.to(dtype), gl.DotOperandLayout(0, sums_layout, 2))


@gluon.jit
def _first_step(
    memory,
    seen,
    step,
    last,
    num_keys,
    HALF: gl.constexpr,
    GROUP: gl.constexpr,
    HAS_WINDOW: gl.constexpr,
):
    """The softmax of the last keys. Clears values that belong to no sequence."""
    _, _, _, num_steps = seen
    queries, _, their_turn, slots = memory
    _, values, keys_filled, keys_free, values_filled, _ = slots
    HEAD_DIM: gl.constexpr = values.shape[2]
    wait_for(keys_filled, step, 0)
    scores = _start_scores(memory, step, HALF)
    arrive(their_turn, step)
    scores = warpgroup_mma_wait(0, deps=[scores])
    arrive(keys_free, step)
    # Finite, so that rows that have seen no key yet are no special case.
    none = gl.full([ROWS], -1e30, gl.float32, gl.SliceLayout(1, scores.type.layout))
    weights, largest = _softmax(scores, none, seen, last, HALF, GROUP, True, HAS_WINDOW)
    if num_keys < (last + 1) * BLOCK_N:
        # Weights of 0 do not keep garbage out of the sums: 0 * NaN is NaN. Both consumers store
        # the same, so that neither has to wait for the other.
        wide: gl.constexpr = _wide_layout(HEAD_DIM)
        wait_for(values_filled, step, 0)
        step_values = values.index(step % values.shape[0])
        key = last * BLOCK_N + gl.arange(0, BLOCK_N, gl.SliceLayout(1, wide))
        loaded = step_values.load(wide)
        step_values.store(gl.where((key < num_keys)[:, None], loaded, gl.zeros_like(loaded)))
        fence_async_shared()
    _wait_for_next_keys(slots, step, 0, num_steps)
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, HEAD_DIM, 16])
    sums = gl.zeros([ROWS, HEAD_DIM], gl.float32, layout)
    return sums, _as_operand(weights, queries.dtype, layout), gl.sum(weights, 1), largest


@gluon.jit
def _walk(
    state,
    memory,
    seen,
    step,
    last,
    begin,
    end,
    HALF: gl.constexpr,
    GROUP: gl.constexpr,
    IS_MASKED: gl.constexpr,
    HAS_WINDOW: gl.constexpr,
):
    """From the keys before step `begin` down to those of `end`, the values one step behind.

    The state: weighted values so far, weights of the last keys, sum and largest of all scores.
    """
    sums, weights, total, largest = state
    _, _, _, num_steps = seen
    queries, _, their_turn, slots = memory
    _, _, _, keys_free, _, values_free = slots
    layout: gl.constexpr = sums.type.layout
    for index in range(last - begin + 1, last - end + 1):
        now = step + index
        scores = _start_scores(memory, now, HALF)
        sums = _start_sums(sums, weights, memory, now - 1)
        arrive(their_turn, now)
        scores, sums = warpgroup_mma_wait(1, deps=[scores, sums])
        arrive(keys_free, now)
        new_weights, new_largest = _softmax(
            scores, largest, seen, last - index, HALF, GROUP, IS_MASKED, HAS_WINDOW
        )
        decay = gl.exp2(largest - new_largest)
        total = total * decay + gl.sum(new_weights, 1)
        largest = new_largest
        _wait_for_next_keys(slots, now, index, num_steps)
        sums = warpgroup_mma_wait(0, deps=[sums])
        arrive(values_free, now - 1)
        sums = sums * gl.convert_layout(decay, gl.SliceLayout(1, layout))[:, None]
        weights = _as_operand(new_weights, queries.dtype, layout)
    return sums, weights, total, largest


@gluon.jit
def _wait_for_next_keys(slots, step, index, num_steps):
    """Until the keys after the `index`th of a tile are there, if there are any.

    Called where a softmax must be finished: the assembler moves computations down behind waits for
    products, where nothing runs beside them any more, but not behind a loop, as this is one.
    """
    keys, _, keys_filled, _, _, _ = slots
    num_slots: gl.constexpr = keys.shape[0]
    next_step = step + 1
    barrier = keys_filled.index(next_step % num_slots)
    mbarrier.wait(barrier, next_step // num_slots & 1, pred=index + 1 < num_steps)
