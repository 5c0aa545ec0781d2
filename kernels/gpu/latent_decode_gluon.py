"""Latent attention of one query a sequence for Hopper GPUs, with warps that have different tasks.

    loader (1 warp)       copies tiles of keys into slots in shared memory
    weigher (4 warps)     scores a tile's keys, makes weights; sums up the first half of the values
    follower (4 warps)    sums up the second half with the same weights

64 heads share a tile of 64 keys, whose beginnings are the values. So many sums do not fit into four
warps' registers, and scores should not be computed twice; the follower's products run while the
weigher is at its next softmax:

    weigher:   | scores | softmax | first half  | scores | softmax | ...
    follower:             (waits) | second half |          (waits) | ...

Programs walk along spans as in latent_decode.py. They leave the parts of pieces that a span's edges
cut off in the workspace, for latent_merge.py.
"""

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.decode_work import ITEM_FIELDS, SPAN_FIELDS, DecodeWork
from legato.kernels.gpu.device import has_warpgroups
from legato.kernels.gpu.prefill_gluon_loader import arrive, wait_for

_LOG2_E = 1.4426950408889634
ROWS, TILE, PIECE = gl.constexpr(64), gl.constexpr(64), gl.constexpr(64)
LATENT_DIM, ROPE_DIM = gl.constexpr(512), gl.constexpr(64)
_STORED_DIM = gl.constexpr(LATENT_DIM + ROPE_DIM)
_HALF = gl.constexpr(LATENT_DIM // 2)
_NUM_SLOTS = gl.constexpr(2)
_TILE_BYTES = gl.constexpr(TILE * _STORED_DIM * 2)
# Of 65,536 registers, at the start; the loader leaves most of its own to the others.
MAX_REGISTERS = 168
_FOLLOWER_REGISTERS, _LOADER_REGISTERS = gl.constexpr(232), gl.constexpr(24)


def is_specialized_for(
    num_heads: int, latent_dim: int, kv_dtype: torch.dtype, device: torch.device
) -> bool:
    """Whether heads should be in groups of ROWS, as `specialized_latent_decode` wants them."""
    return (
        has_warpgroups(device)
        and kv_dtype.itemsize == 2
        and latent_dim == LATENT_DIM.value
        and num_heads % ROWS.value == 0
    )


def supports_specialized(query: torch.Tensor, kv_pool: torch.Tensor, work: DecodeWork) -> bool:
    """Whether `specialized_latent_decode` computes this."""
    shape, (block_size, stored_dim) = work.shape, kv_pool.shape[4:]
    return (
        is_specialized_for(shape.num_heads, shape.head_dim, kv_pool.dtype, kv_pool.device)
        and shape.num_heads == shape.num_kv_heads * ROWS.value
        and query.dtype is kv_pool.dtype
        and stored_dim == _STORED_DIM.value
        and work.config.tile == TILE.value
        and block_size % TILE.value == 0
    )


def specialized_latent_decode(
    query: torch.Tensor,
    kv_pool: torch.Tensor,
    layer: int,
    batch: AttentionBatch,
    work: DecodeWork,
    params: AttentionParams,
    output: torch.Tensor,
) -> None:
    """All of `latent_decode` but merging; only where `supports_specialized`."""
    num_layers, block_size = kv_pool.shape[1], kv_pool.shape[4]
    layout = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    pool_rows = kv_pool.view(-1, _STORED_DIM.value)
    latent_decode_kernel[(work.num_programs,)](
        query,
        TensorDescriptor.from_tensor(pool_rows, [TILE.value, PIECE.value], layout),
        output,
        batch.block_tables,
        work.items,
        work.spans,
        work.partial_outputs,
        work.partial_lses,
        batch.block_tables.stride(0),
        num_layers,
        layer,
        params.scale * _LOG2_E,
        NUM_GROUPS=work.shape.num_kv_heads,
        BLOCK_SIZE=block_size,
        num_warps=4,
        maxnreg=MAX_REGISTERS,
    )


@gluon.jit(do_not_specialize=["table_stride", "num_layers", "layer"])
def latent_decode_kernel(
    query,  # [rows, heads, stored_dim]
    pool_desc,  # [blocks * layers * tokens, stored_dim], in pieces
    output,  # [rows, heads, latent_dim]
    block_tables,  # [sequences, max_blocks]
    items,
    spans,
    partial_outputs,
    partial_lses,
    table_stride,
    num_layers,
    layer,
    score_scale,
    NUM_GROUPS: gl.constexpr,
    BLOCK_SIZE: gl.constexpr,
):
    dtype: gl.constexpr = pool_desc.dtype
    matrix: gl.constexpr = gl.NVMMASharedLayout(128, 16, 2)
    vector: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [0])
    latent_queries = gl.allocate_shared_memory(dtype, [ROWS, LATENT_DIM], matrix)
    rope_queries = gl.allocate_shared_memory(dtype, [ROWS, ROPE_DIM], matrix)
    latents = gl.allocate_shared_memory(dtype, [_NUM_SLOTS, TILE, LATENT_DIM], matrix)
    ropes = gl.allocate_shared_memory(dtype, [_NUM_SLOTS, TILE, ROPE_DIM], matrix)
    weights = gl.allocate_shared_memory(dtype, [ROWS, TILE], matrix)
    factors = gl.allocate_shared_memory(gl.float32, [ROWS], vector)
    # A slot is filled by the copy engine, and free when both others say so. What the weigher
    # tells the follower has a place for one message.
    filled = _make_barriers(_NUM_SLOTS, 1)
    free = _make_barriers(_NUM_SLOTS, 2)
    said = _make_barriers(1, 1)
    heard = _make_barriers(1, 1)
    fence_async_shared()

    walk = (items, spans, NUM_GROUPS)
    places = (output, partial_outputs, partial_lses)
    slots = (latents, filled, free)
    message = (weights, factors, said, heard)
    queries = (query, latent_queries, rope_queries, ropes)
    pool = (pool_desc, block_tables, table_stride, num_layers, layer)
    gl.warp_specialize(
        [
            (_weigh, (walk, places, slots, message, queries, score_scale)),
            (_follow, (walk, places, slots, message)),
            (_load, (walk, pool, slots, ropes, BLOCK_SIZE)),
        ],
        [4, 1],
        [_FOLLOWER_REGISTERS, _LOADER_REGISTERS],
    )


@gluon.jit
def _make_barriers(number: gl.constexpr, count: gl.constexpr):
    barriers = gl.allocate_shared_memory(gl.int64, [number, 1], mbarrier.MBarrierLayout())
    for index in gl.static_range(number):
        mbarrier.init(barriers.index(index), count=count)
    return barriers


@gluon.jit
def _span(walk):
    """First tile of the program's span in the line of all tiles, the one behind, and the item."""
    _, spans, _ = walk
    fields = spans + gl.program_id(0) * SPAN_FIELDS
    return gl.load(fields), gl.load(fields + 1), gl.load(fields + 3)


@gluon.jit
def _part(walk, position, end, item):
    """What of the item's piece at this position lies in the span.

    Returns:
        context length, number of the piece's tiles, first of them, how many; and the next item
    """
    items, _, num_groups = walk
    fields = items + item * ITEM_FIELDS
    context_len, item_begin = gl.load(fields + 2), gl.load(fields + 3)
    num_tiles = gl.cdiv(context_len, TILE)
    first = (position - item_begin) % num_tiles
    count = gl.minimum(num_tiles - first, end - position)
    is_last = position + count == item_begin + num_tiles * num_groups
    return context_len, num_tiles, first, count, item + is_last.to(gl.int32)


@gluon.jit
def _first_head(walk, position, item):
    """Of the piece at this position, among all rows' heads."""
    items, _, num_groups = walk
    fields = items + item * ITEM_FIELDS
    group = (position - gl.load(fields + 3)) // gl.cdiv(gl.load(fields + 2), TILE)
    return (gl.load(fields + 1).to(gl.int64) * num_groups + group) * ROWS


@gluon.jit
def _load(walk, pool, slots, ropes, BLOCK_SIZE: gl.constexpr):
    """Copies the tiles of the span, as soon as there is room."""
    items, _, _ = walk
    pool_desc, block_tables, table_stride, num_layers, layer = pool
    latents, filled, free = slots
    position, end, item = _span(walk)
    step = 0
    while position < end:
        _context_len, _num_tiles, first, count, next_item = _part(walk, position, end, item)
        sequence = gl.load(items + item * ITEM_FIELDS)
        block_table = block_tables + sequence.to(gl.int64) * table_stride
        for tile in range(first, first + count):
            block = gl.load(block_table + tile * TILE // BLOCK_SIZE)
            row = (block * num_layers + layer) * BLOCK_SIZE + tile * TILE % BLOCK_SIZE
            wait_for(free, step, 1)
            slot = step % _NUM_SLOTS
            is_filled = filled.index(slot)
            mbarrier.expect(is_filled, _TILE_BYTES)
            for feature in gl.static_range(0, LATENT_DIM, PIECE):
                part = latents.index(slot).slice(feature, PIECE, dim=1)
                tma.async_copy_global_to_shared(pool_desc, [row, feature], is_filled, part)
            rope = ropes.index(slot)
            tma.async_copy_global_to_shared(pool_desc, [row, LATENT_DIM], is_filled, rope)
            step += 1
        position += count
        item = next_item


@gluon.jit
def _weigh(walk, places, slots, message, queries, score_scale):
    """Scores, weights, and the first half of the sums."""
    latents, filled, free = slots
    query, latent_queries, rope_queries, ropes = queries
    weights, factors, said, heard = message
    dtype: gl.constexpr = weights.dtype
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, _HALF, 16])
    scores_layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, TILE, 16])
    of_row: gl.constexpr = gl.SliceLayout(1, scores_layout)
    position, end, item = _span(walk)
    step = 0
    messages = 0
    while position < end:
        context_len, num_tiles, first, count, next_item = _part(walk, position, end, item)
        _copy_queries(query, _first_head(walk, position, item), latent_queries, rope_queries)
        largest = gl.full([ROWS], -1e30, gl.float32, of_row)
        total = gl.zeros([ROWS], gl.float32, of_row)
        sums = gl.zeros([ROWS, _HALF], gl.float32, layout)
        for tile in range(first, first + count):
            num_keys = context_len - tile * TILE
            slot = step % _NUM_SLOTS
            latent = latents.index(slot)
            wait_for(filled, step, 0)
            if num_keys < TILE:
                _clear(latent, num_keys)
            scores = gl.zeros([ROWS, TILE], gl.float32, scores_layout)
            scores = warpgroup_mma(
                latent_queries, latent.permute((1, 0)), scores, use_acc=False, is_async=True
            )
            scores = warpgroup_mma(
                rope_queries, ropes.index(slot).permute((1, 0)), scores, is_async=True
            )
            scores = warpgroup_mma_wait(0, deps=[scores])
            key = gl.arange(0, TILE, gl.SliceLayout(0, scores_layout))
            scores = gl.where((key < num_keys)[None, :], scores, -float("inf"))
            new_largest = gl.maximum(largest, gl.max(scores, 1) * score_scale)
            new_weights = gl.exp2(scores * score_scale - new_largest[:, None])
            decay = gl.exp2(largest - new_largest)
            total = total * decay + gl.sum(new_weights, 1)
            largest = new_largest
            rounded = new_weights.to(dtype)
            wait_for(heard, messages, 1)
            weights.store(rounded)
            factors.store(decay)
            arrive(said, messages)
            messages += 1
            sums = sums * gl.convert_layout(decay, gl.SliceLayout(1, layout))[:, None]
            operand = gl.convert_layout(rounded, gl.DotOperandLayout(0, layout, 2))
            sums = warpgroup_mma(operand, latent.slice(0, _HALF, dim=1), sums, is_async=True)
            sums = warpgroup_mma_wait(0, deps=[sums])
            arrive(free, step)
            step += 1
        factor = 1 / total
        wait_for(heard, messages, 1)
        factors.store(factor)
        arrive(said, messages)
        messages += 1
        sums = sums * gl.convert_layout(factor, gl.SliceLayout(1, layout))[:, None]
        _store(sums, places, walk, position, item, first, count == num_tiles, 0)
        if count < num_tiles:
            _, _, partial_lses = places
            rows = gl.arange(0, ROWS, of_row)
            lse = largest + gl.log2(total)
            gl.store(partial_lses + _place(first) * ROWS + rows, lse)
        position += count
        item = next_item


@gluon.jit
def _follow(walk, places, slots, message):
    """The second half of the sums."""
    latents, _, free = slots
    weights, factors, said, heard = message
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, _HALF, 16])
    of_row: gl.constexpr = gl.SliceLayout(1, layout)
    position, end, item = _span(walk)
    step = 0
    messages = 0
    while position < end:
        _context_len, num_tiles, first, count, next_item = _part(walk, position, end, item)
        sums = gl.zeros([ROWS, _HALF], gl.float32, layout)
        for _index in range(count):
            wait_for(said, messages, 0)
            operand = weights.load(gl.DotOperandLayout(0, layout, 2))
            decay = factors.load(of_row)
            arrive(heard, messages)
            messages += 1
            sums = sums * decay[:, None]
            values = latents.index(step % _NUM_SLOTS).slice(_HALF, _HALF, dim=1)
            sums = warpgroup_mma(operand, values, sums, is_async=True)
            sums = warpgroup_mma_wait(0, deps=[sums])
            arrive(free, step)
            step += 1
        wait_for(said, messages, 0)
        factor = factors.load(of_row)
        arrive(heard, messages)
        messages += 1
        sums = sums * factor[:, None]
        _store(sums, places, walk, position, item, first, count == num_tiles, _HALF)
        position += count
        item = next_item


@gluon.jit
def _copy_queries(query, first_head, latent_queries, rope_queries):
    """The queries of a piece's heads, into shared memory."""
    wide: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
    rows = first_head + gl.arange(0, ROWS, gl.SliceLayout(1, wide))
    dims = gl.arange(0, PIECE, gl.SliceLayout(0, wide))
    pointers = query + rows[:, None] * _STORED_DIM + dims[None, :]
    for feature in gl.static_range(0, LATENT_DIM, PIECE):
        latent_queries.slice(feature, PIECE, dim=1).store(gl.load(pointers + feature))
    rope_queries.store(gl.load(pointers + LATENT_DIM))
    fence_async_shared()


@gluon.jit
def _clear(latent, num_keys):
    """Values that belong to no key: a weight of 0 does not keep garbage out, 0 * NaN is NaN."""
    wide: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
    key = gl.arange(0, TILE, gl.SliceLayout(1, wide))
    for feature in gl.static_range(0, LATENT_DIM, PIECE):
        part = latent.slice(feature, PIECE, dim=1)
        loaded = part.load(wide)
        part.store(gl.where((key < num_keys)[:, None], loaded, gl.zeros_like(loaded)))
    fence_async_shared()


@gluon.jit
def _place(first):
    """Where in the workspace a part belongs, see decode_merge.py."""
    return gl.program_id(0) * 2 + (first == 0).to(gl.int32)


@gluon.jit
def _store(sums, places, walk, position, item, first, is_whole, FIRST_DIM: gl.constexpr):
    """Half of a result: where it belongs if it is whole, else to the workspace."""
    output, partial_outputs, _ = places
    layout: gl.constexpr = sums.type.layout
    rows = gl.arange(0, ROWS, gl.SliceLayout(1, layout))
    dims = FIRST_DIM + gl.arange(0, _HALF, gl.SliceLayout(0, layout))
    offsets = rows[:, None] * LATENT_DIM + dims[None, :]
    if is_whole:
        pointer = output + _first_head(walk, position, item) * LATENT_DIM
        gl.store(pointer + offsets, sums.to(output.dtype.element_ty))
    else:
        place = _place(first).to(gl.int64)
        gl.store(partial_outputs + place * (ROWS * LATENT_DIM) + offsets, sums)
