"""Prefill attention for Hopper GPUs, with warps that have different tasks.

    loader (1 warp)           copies blocks of keys and values into slots in shared memory
    consumers (2 x 4 warps)   each computes half of a tile's rows

A consumer starts the products of its queries with the next keys, then those of its weights with
the last values, and computes the softmax of the former during the latter. The consumers take turns
in starting products, so that one's softmax runs during the other's products:

    consumer 0:  | products | softmax  | products | softmax  |
    consumer 1:             | products | softmax  | products |

Keys are walked from the last to the first: what needs masks comes first, and the end is a plain
loop. Programs stay for as long as there are tiles, so that the loader is ahead of the consumers
when a tile ends; rounds go to and fro over the programs, since tiles become shorter all the time.

Computes what prefill_attention.py computes, for pools of 16 bits, heads of 64 or 128, blocks of a
multiple of 64 tokens, and no softcap.
"""

import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.device import has_warpgroups, num_multiprocessors
from legato.kernels.gpu.prefill_gluon_consumer import consume
from legato.kernels.gpu.prefill_gluon_loader import BLOCK_N, PIECE, ROWS, load, make_barriers
from legato.kernels.gpu.prefill_work import PrefillWork, max_num_tiles

LOG2_E = 1.4426950408889634
# Of 65,536 registers, at the start; consumers get what the loader does not need.
MAX_REGISTERS = 168
_CONSUMER_REGISTERS, _LOADER_REGISTERS = gl.constexpr(240), gl.constexpr(24)


def supports_specialized(
    query: torch.Tensor, kv_pool: torch.Tensor, work: PrefillWork, params: AttentionParams
) -> bool:
    """Whether `specialized_prefill` computes this."""
    block_size, head_dim = kv_pool.shape[4:]
    return (
        work.config.num_slots >= 2
        and work.config.block_m == 128
        and has_warpgroups(kv_pool.device)
        and kv_pool.element_size() == 2
        and query.dtype is kv_pool.dtype
        and head_dim in (64, 128)
        and block_size % 64 == 0
        and params.softcap is None
    )


def specialized_prefill(
    query: torch.Tensor,
    kv_pool: torch.Tensor,
    layer: int,
    batch: AttentionBatch,
    work: PrefillWork,
    params: AttentionParams,
    output: torch.Tensor,
    sinks: torch.Tensor | None,
) -> None:
    """As `prefill_attention`; only where `supports_specialized`."""
    num_rows, num_heads, head_dim = query.shape
    num_layers, _, num_kv_heads, block_size = kv_pool.shape[1:5]
    places = max_num_tiles(num_rows, batch.max_sequences, work.queries_per_tile) * num_kv_heads
    pool_rows = kv_pool.view(-1, head_dim)
    layout = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    prefill_kernel[(max(min(places, num_multiprocessors(kv_pool.device)), 1),)](
        query,
        TensorDescriptor.from_tensor(pool_rows, [PIECE.value, PIECE.value], layout),
        output,
        work.tiles,
        work.num_tiles,
        batch.context_lens,
        batch.block_tables,
        sinks,
        query.stride(0),
        batch.block_tables.stride(0),
        num_layers,
        layer,
        LOG2_E * params.scale * params.key_scale,
        params.value_scale,
        params.window or 0,
        HEAD_DIM=head_dim,
        NUM_KV_HEADS=num_kv_heads,
        GROUP=num_heads // num_kv_heads,
        BLOCK_SIZE=block_size,
        NUM_SLOTS=work.config.num_slots,
        HAS_WINDOW=params.window is not None,
        num_warps=4,
        maxnreg=MAX_REGISTERS,
    )


@gluon.jit(do_not_specialize=["table_stride", "num_layers", "layer", "window"])
def prefill_kernel(
    query,  # [rows, heads, head_dim]
    pool_desc,  # [blocks * layers * 2 * kv_heads * tokens, head_dim], in pieces
    output,  # [rows, heads, head_dim]
    tiles,  # [max_tiles, 4]
    num_tiles,  # [1]
    context_lens,  # [sequences]
    block_tables,  # [sequences, max_blocks]
    sinks,  # [heads], or None
    query_stride,
    table_stride,
    num_layers,
    layer,
    score_scale,
    value_scale,
    window,
    HEAD_DIM: gl.constexpr,
    NUM_KV_HEADS: gl.constexpr,
    GROUP: gl.constexpr,
    BLOCK_SIZE: gl.constexpr,
    NUM_SLOTS: gl.constexpr,
    HAS_WINDOW: gl.constexpr,
):
    dtype: gl.constexpr = pool_desc.dtype
    layout: gl.constexpr = gl.NVMMASharedLayout(128, 16, 2)
    queries = gl.allocate_shared_memory(dtype, [2, ROWS, HEAD_DIM], layout)
    keys = gl.allocate_shared_memory(dtype, [NUM_SLOTS, BLOCK_N, HEAD_DIM], layout)
    values = gl.allocate_shared_memory(dtype, [NUM_SLOTS, BLOCK_N, HEAD_DIM], layout)
    # Each slot is filled by the copy engine, and free when both consumers say so.
    keys_filled = make_barriers(NUM_SLOTS, 1)
    keys_free = make_barriers(NUM_SLOTS, 2)
    values_filled = make_barriers(NUM_SLOTS, 1)
    values_free = make_barriers(NUM_SLOTS, 2)
    turn_0 = make_barriers(1, 1)
    turn_1 = make_barriers(1, 1)
    fence_async_shared()

    num_items = gl.load(num_tiles) * NUM_KV_HEADS
    work = (tiles, num_items, NUM_KV_HEADS, window)
    loader = (pool_desc, block_tables, table_stride, num_layers, layer)
    consumer = (query, query_stride, output, context_lens, score_scale, value_scale, sinks)
    slots = (keys, values, keys_filled, keys_free, values_filled, values_free)
    memory_0 = (queries.index(0), turn_0, turn_1, slots)
    memory_1 = (queries.index(1), turn_1, turn_0, slots)
    gl.warp_specialize(
        [
            (consume, (work, consumer, memory_0, 0, GROUP, HAS_WINDOW)),
            (consume, (work, consumer, memory_1, 1, GROUP, HAS_WINDOW)),
            (load, (work, loader, slots, BLOCK_SIZE, HAS_WINDOW)),
        ],
        [4, 1],
        [_CONSUMER_REGISTERS, _LOADER_REGISTERS],
    )
