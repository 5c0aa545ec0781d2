"""Latent attention of 64 rows over tiles of keys on Hopper GPUs, by warps with different tasks.

    loader (1 warp)       copies tiles of keys into slots in shared memory
    weigher (4 warps)     scores a tile's keys, makes weights; sums up the first half of the values
    follower (4 warps)    sums up the second half with the same weights

Keys' beginnings are the values. The sums of 64 rows do not fit into four warps' registers, and
scores should not be computed twice; the follower's products run while the weigher is at its next
softmax:

    weigher:   | scores | softmax | first half  | scores | softmax | ...
    follower:             (waits) | second half |          (waits) | ...

Each function here is one task's share of one piece of work: some rows, a range of tiles. The
kernels in latent_decode_gluon.py and latent_prefill_gluon.py say which.
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

from legato.kernels.gpu.device import has_warpgroups
from legato.kernels.gpu.prefill_gluon_loader import arrive, make_barriers, wait_for

ROWS, TILE, PIECE = gl.constexpr(64), gl.constexpr(64), gl.constexpr(64)
LATENT_DIM, ROPE_DIM = gl.constexpr(512), gl.constexpr(64)
STORED_DIM = gl.constexpr(LATENT_DIM + ROPE_DIM)
HALF = gl.constexpr(LATENT_DIM // 2)
_NUM_SLOTS = gl.constexpr(2)
_TILE_BYTES = gl.constexpr(TILE * STORED_DIM * 2)
# Of 65,536 registers, at the start; the loader leaves most of its own to the others.
MAX_REGISTERS = 168
FOLLOWER_REGISTERS, LOADER_REGISTERS = gl.constexpr(232), gl.constexpr(40)


def is_specialized_for(latent_dim: int, kv_dtype: torch.dtype, device: torch.device) -> bool:
    """Whether there are kernels for latents of this size on this GPU."""
    return has_warpgroups(device) and kv_dtype.itemsize == 2 and latent_dim == LATENT_DIM.value


def supports_pool(query: torch.Tensor, kv_pool: torch.Tensor, value_dim: int) -> bool:
    """Whether these kernels can read the pool, whatever the rows are."""
    block_size, stored_dim = kv_pool.shape[4:]
    return (
        is_specialized_for(value_dim, kv_pool.dtype, kv_pool.device)
        and query.dtype is kv_pool.dtype
        and stored_dim == STORED_DIM.value
        and block_size % TILE.value == 0
    )


def describe_pool(kv_pool: torch.Tensor) -> TensorDescriptor:
    """The pool as [blocks * layers * tokens, stored_dim], in pieces."""
    layout = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    rows = kv_pool.view(-1, STORED_DIM.value)
    return TensorDescriptor.from_tensor(rows, [TILE.value, PIECE.value], layout)


@gluon.jit
def make_memory(dtype: gl.constexpr):
    """Shared memory of a program: queries, slots, and the weigher's messages to the follower."""
    matrix: gl.constexpr = gl.NVMMASharedLayout(128, 16, 2)
    vector: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [0])
    latent_queries = gl.allocate_shared_memory(dtype, [ROWS, LATENT_DIM], matrix)
    rope_queries = gl.allocate_shared_memory(dtype, [ROWS, ROPE_DIM], matrix)
    latents = gl.allocate_shared_memory(dtype, [_NUM_SLOTS, TILE, LATENT_DIM], matrix)
    ropes = gl.allocate_shared_memory(dtype, [_NUM_SLOTS, TILE, ROPE_DIM], matrix)
    weights = gl.allocate_shared_memory(dtype, [ROWS, TILE], matrix)
    factors = gl.allocate_shared_memory(gl.float32, [ROWS], vector)
    # A slot is filled by the copy engine, and free when both others say so. There is a place for
    # one message.
    filled = make_barriers(_NUM_SLOTS, 1)
    free = make_barriers(_NUM_SLOTS, 2)
    said = make_barriers(1, 1)
    heard = make_barriers(1, 1)
    fence_async_shared()
    return (latent_queries, rope_queries), (latents, ropes, filled, free), (
        weights, factors, said, heard
    )  # fmt: skip


@gluon.constexpr_function
def sums_layout():
    """Of half of the sums, [ROWS, HALF]."""
    return gl.NVMMADistributedLayout([3, 0], [4, 1], [16, HALF.value, 16])


@gluon.constexpr_function
def scores_layout():
    """Of [ROWS, TILE]."""
    return gl.NVMMADistributedLayout([3, 0], [4, 1], [16, TILE.value, 16])


@gluon.constexpr_function
def wide_layout():
    """Of [ROWS or TILE, PIECE] such that threads have 16 adjacent bytes."""
    return gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])


@gluon.jit
def load_tiles(pool, slots, block_table, first, count, step, BLOCK_SIZE: gl.constexpr):
    """The loader's share: copies tiles as soon as there is room. Returns the next step."""
    pool_desc, num_layers, layer = pool
    latents, ropes, filled, free = slots
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
        tma.async_copy_global_to_shared(pool_desc, [row, LATENT_DIM], is_filled, ropes.index(slot))
        step += 1
    return step


@gluon.jit
def copy_queries(pointers, queries):
    """Queries into shared memory; pointers: [ROWS] of their beginnings, for `wide_layout`."""
    latent_queries, rope_queries = queries
    dims = gl.arange(0, PIECE, gl.SliceLayout(0, wide_layout()))
    pointers = pointers[:, None] + dims[None, :]
    for feature in gl.static_range(0, LATENT_DIM, PIECE):
        latent_queries.slice(feature, PIECE, dim=1).store(gl.load(pointers + feature))
    rope_queries.store(gl.load(pointers + LATENT_DIM))
    fence_async_shared()


@gluon.jit
def weigh_tiles(
    queries, slots, message, positions, first, count, num_keys, score_scale, step, messages
):
    """The weigher's share.

    Args:
        positions: [ROWS] of `scores_layout`: later keys are not seen
        num_keys: of the sequence: what lies behind them may be garbage

    Returns:
        half of the weighted mean, log2 of the sum of weights, and how many tiles and messages there
        have been
    """
    latent_queries, rope_queries = queries
    latents, ropes, filled, free = slots
    weights, factors, said, heard = message
    layout: gl.constexpr = sums_layout()
    narrow: gl.constexpr = scores_layout()
    largest = gl.full([ROWS], -1e30, gl.float32, gl.SliceLayout(1, narrow))
    total = gl.zeros([ROWS], gl.float32, gl.SliceLayout(1, narrow))
    sums = gl.zeros([ROWS, HALF], gl.float32, layout)
    for tile in range(first, first + count):
        slot = step % _NUM_SLOTS
        latent, rope = latents.index(slot), ropes.index(slot)
        wait_for(filled, step, 0)
        if num_keys < (tile + 1) * TILE:
            _clear(latent, num_keys - tile * TILE)
        scores = gl.zeros([ROWS, TILE], gl.float32, narrow)
        scores = warpgroup_mma(
            latent_queries, latent.permute((1, 0)), scores, use_acc=False, is_async=True
        )
        scores = warpgroup_mma(rope_queries, rope.permute((1, 0)), scores, is_async=True)
        scores = warpgroup_mma_wait(0, deps=[scores])
        key = tile * TILE + gl.arange(0, TILE, gl.SliceLayout(0, narrow))
        scores = gl.where(key[None, :] <= positions[:, None], scores, -float("inf"))
        new_largest = gl.maximum(largest, gl.max(scores, 1) * score_scale)
        new_weights = gl.exp2(scores * score_scale - new_largest[:, None])
        decay = gl.exp2(largest - new_largest)
        total = total * decay + gl.sum(new_weights, 1)
        largest = new_largest
        rounded = new_weights.to(weights.dtype)
        wait_for(heard, messages, 1)
        weights.store(rounded)
        factors.store(decay)
        arrive(said, messages)
        messages += 1
        sums = sums * gl.convert_layout(decay, gl.SliceLayout(1, layout))[:, None]
        operand = gl.convert_layout(rounded, gl.DotOperandLayout(0, layout, 2))
        sums = warpgroup_mma(operand, latent.slice(0, HALF, dim=1), sums, is_async=True)
        sums = warpgroup_mma_wait(0, deps=[sums])
        arrive(free, step)
        step += 1
    factor = 1 / total
    wait_for(heard, messages, 1)
    factors.store(factor)
    arrive(said, messages)
    messages += 1
    sums = sums * gl.convert_layout(factor, gl.SliceLayout(1, layout))[:, None]
    return sums, largest + gl.log2(total), step, messages


@gluon.jit
def follow_tiles(slots, message, count, step, messages):
    """The follower's share: the other half of the weighted mean, and the same counts."""
    latents, _, _, free = slots
    weights, factors, said, heard = message
    layout: gl.constexpr = sums_layout()
    sums = gl.zeros([ROWS, HALF], gl.float32, layout)
    for _index in range(count):
        wait_for(said, messages, 0)
        operand = weights.load(gl.DotOperandLayout(0, layout, 2))
        decay = factors.load(gl.SliceLayout(1, layout))
        arrive(heard, messages)
        messages += 1
        sums = sums * decay[:, None]
        values = latents.index(step % _NUM_SLOTS).slice(HALF, HALF, dim=1)
        sums = warpgroup_mma(operand, values, sums, is_async=True)
        sums = warpgroup_mma_wait(0, deps=[sums])
        arrive(free, step)
        step += 1
    wait_for(said, messages, 0)
    factor = factors.load(gl.SliceLayout(1, layout))
    arrive(heard, messages)
    return sums * factor[:, None], step, messages + 1


@gluon.jit
def _clear(latent, num_keys):
    """Values that belong to no key: a weight of 0 does not keep garbage out, 0 * NaN is NaN."""
    key = gl.arange(0, TILE, gl.SliceLayout(1, wide_layout()))
    for feature in gl.static_range(0, LATENT_DIM, PIECE):
        part = latent.slice(feature, PIECE, dim=1)
        loaded = part.load(wide_layout())
        part.store(gl.where((key < num_keys)[:, None], loaded, gl.zeros_like(loaded)))
    fence_async_shared()


@gluon.jit
def store_half(sums, pointers, is_row, FIRST_DIM: gl.constexpr):
    """Half of a result; pointers: [ROWS] of its rows' beginnings, for `sums_layout`."""
    dims = FIRST_DIM + gl.arange(0, HALF, gl.SliceLayout(0, sums_layout()))
    values = sums.to(pointers.dtype.element_ty)
    gl.store(pointers[:, None] + dims[None, :], values, mask=is_row[:, None])
