"""The loader of prefill_attention_gluon.py: what copies keys and values into shared memory.

    slot:      |   0    |   1    |   0    |   1    |      num_slots = 2
    step:          0        1        2        3           BLOCK_N keys each, over all tiles
    phase:         0        0        1        1           of the slot's two barriers

A slot is filled when the copy engine has written all of it, and free when both consumers have said
so. Here is also what loader and consumers must agree on: which tiles a program computes, and the
steps of a tile.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma

# Tokens and features that are copied at once: rows of 128 bytes are what the layout interleaves.
PIECE = gl.constexpr(64)
# Keys that are computed at once.
BLOCK_N = gl.constexpr(128)
# Rows of a consumer: what four warps multiply at once.
ROWS = gl.constexpr(64)


@gluon.jit
def make_barriers(number: gl.constexpr, count: gl.constexpr):
    """So many barriers, [number, 1], each complete when `count` have arrived."""
    barriers = gl.allocate_shared_memory(gl.int64, [number, 1], mbarrier.MBarrierLayout())
    for index in gl.static_range(number):
        mbarrier.init(barriers.index(index), count=count)
    return barriers


@gluon.jit
def wait_for(barriers, step, PARITY: gl.constexpr):
    """Until the barrier of the step's slot has completed the step's phase.

    PARITY 1: the phase before, which a new barrier counts as completed.
    """
    num_slots: gl.constexpr = barriers.shape[0]
    mbarrier.wait(barriers.index(step % num_slots), (step // num_slots & 1) ^ PARITY)


@gluon.jit
def arrive(barriers, step):
    num_slots: gl.constexpr = barriers.shape[0]
    mbarrier.arrive(barriers.index(step % num_slots), count=1)


@gluon.jit
def item_of(round_index):
    """Number of the tile and key head that a program computes in a round."""
    program = gl.program_id(0)
    num_programs = gl.num_programs(0)
    if round_index % 2 == 1:
        program = num_programs - 1 - program
    return round_index * num_programs + program


@gluon.jit
def steps_of(tile, window, HAS_WINDOW: gl.constexpr):
    """First and last step of the keys that a tile sees; in between, those that all its rows see."""
    num_queries = gl.load(tile + 2)
    first_position = gl.load(tile + 3)
    last = (first_position + num_queries - 1) // BLOCK_N
    whole_end = (first_position + 1) // BLOCK_N
    first = 0
    whole_begin = 0
    if HAS_WINDOW:
        first = gl.maximum(first_position - window + 1, 0) // BLOCK_N
        whole_begin = gl.maximum(first_position + num_queries - window + BLOCK_N - 1, 0) // BLOCK_N
    # The last is always computed with masks.
    whole_end = gl.minimum(gl.maximum(whole_end, first), last)
    whole_begin = gl.minimum(gl.maximum(whole_begin, first), whole_end)
    return first, whole_begin, whole_end, last


@gluon.jit
def load(work, loader, slots, BLOCK_SIZE: gl.constexpr, HAS_WINDOW: gl.constexpr):
    """Copies what the program's tiles need, as soon as there is room."""
    tiles, num_items, num_kv_heads, window = work
    pool_desc, block_tables, table_stride, num_layers, layer = loader
    keys, values, keys_filled, keys_free, values_filled, values_free = slots
    step = 0
    for round_index in range(gl.cdiv(num_items, gl.num_programs(0))):
        item = item_of(round_index)
        if item < num_items:
            tile = tiles + item // num_kv_heads * 4
            head = layer * 2 * num_kv_heads + item % num_kv_heads
            block_table = block_tables + gl.load(tile).to(gl.int64) * table_stride
            table = (block_table, num_layers * 2 * num_kv_heads)
            last_key = gl.load(tile + 3) + gl.load(tile + 2) - 1
            first, _begin, _end, last = steps_of(tile, window, HAS_WINDOW)
            num_steps = last - first + 1
            # Values come one step behind the keys, as they are needed.
            for index in range(num_steps + 1):
                if index < num_steps:
                    low, high = _rows_of(last - index, last_key, table, head, BLOCK_SIZE)
                    _copy(pool_desc, low, high, keys, keys_filled, keys_free, step + index)
                if index > 0:
                    low, high = _rows_of(last - index + 1, last_key, table, head, BLOCK_SIZE)
                    low += num_kv_heads * BLOCK_SIZE
                    high += num_kv_heads * BLOCK_SIZE
                    _copy(
                        pool_desc, low, high, values, values_filled, values_free, step + index - 1
                    )
            step += num_steps


@gluon.jit
def _rows_of(step_of_keys, last_key, table, head, BLOCK_SIZE: gl.constexpr):
    """Where in the pool each half of the keys begins. Keys behind the last are masked: any do."""
    block_table, heads_per_block = table
    low_key = step_of_keys * BLOCK_N
    high_key = low_key + PIECE
    low = gl.load(block_table + gl.minimum(low_key, last_key) // BLOCK_SIZE)
    high = gl.load(block_table + gl.minimum(high_key, last_key) // BLOCK_SIZE)
    low = (low * heads_per_block + head) * BLOCK_SIZE + low_key % BLOCK_SIZE
    high = (high * heads_per_block + head) * BLOCK_SIZE + high_key % BLOCK_SIZE
    return low, high


@gluon.jit
def _copy(pool_desc, low, high, buffers, filled, free, step):
    """Starts copies of a step's BLOCK_N rows from two places of the pool, once there is room."""
    num_slots: gl.constexpr = buffers.shape[0]
    HEAD_DIM: gl.constexpr = buffers.shape[2]
    wait_for(free, step, 1)
    buffer = buffers.index(step % num_slots)
    is_filled = filled.index(step % num_slots)
    mbarrier.expect(is_filled, BLOCK_N * HEAD_DIM * 2)
    for feature in gl.static_range(0, HEAD_DIM, PIECE):
        part = buffer.slice(feature, PIECE, dim=1)
        tma.async_copy_global_to_shared(
            pool_desc, [low, feature], is_filled, part.slice(0, PIECE, dim=0)
        )
        tma.async_copy_global_to_shared(
            pool_desc, [high, feature], is_filled, part.slice(PIECE, PIECE, dim=0)
        )
