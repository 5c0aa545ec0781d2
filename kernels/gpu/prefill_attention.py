"""Causal attention of prompts, or of chunks of them, over the block pool.

A program computes one tile of queries (prefill_work.py) for one key head. It walks over the keys
in three loops, so that only few steps pay for masks:

    keys:   | before the window | some rows see | all rows see | diagonal and tail | later |
    loop:     not visited         masked          unmasked       masked              not visited

The softmax is kept in powers of two, with log2(e) folded into the scale. Keys and values of 8
bits are computed with as float16, to which Hopper converts at twice bfloat16's speed; the query
is scaled before it becomes float16.

Knows nothing of how keys and values got into the pool.
"""

import torch
import triton
import triton.language as tl

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.device import num_multiprocessors
from legato.kernels.gpu.prefill_attention_gluon import specialized_prefill, supports_specialized
from legato.kernels.gpu.prefill_work import PrefillConfig, PrefillWork, max_num_tiles
from legato.kernels.gpu.sinks import add_sinks

LOG2_E = 1.4426950408889634


def choose_config(num_rows: int, num_heads: int, kv_pool: torch.Tensor) -> PrefillConfig:
    """The configuration for steps of that many rows, from what is known without the GPU.

    Steps with too few tiles for all multiprocessors get smaller ones.
    """
    num_kv_heads, _, head_dim = kv_pool.shape[3:]
    group_size = num_heads // num_kv_heads
    if kv_pool.element_size() == 4:  # no tensor cores: all that is summed at once is in registers
        return PrefillConfig(max(16, triton.next_power_of_2(group_size)), 16, 4, 2)
    num_large_tiles = num_rows * num_heads / 128
    is_small = num_large_tiles < num_multiprocessors(kv_pool.device) and group_size <= 64
    if head_dim > 128:
        return PrefillConfig(64, 32, 4, 3) if is_small else PrefillConfig(128, 64, 8, 2)
    if is_small:
        return PrefillConfig(64, 64, 4, 3)
    return PrefillConfig(128, 64, 8, 3, num_slots=2 if head_dim > 64 else 4)


def prefill_attention(
    query: torch.Tensor,
    kv_pool: torch.Tensor,
    layer: int,
    batch: AttentionBatch,
    work: PrefillWork,
    params: AttentionParams,
    output: torch.Tensor,
    sinks: torch.Tensor | None = None,
) -> None:
    """Attends for the sequences with two queries or more; other rows of `output` stay as they are.

    The step's own keys and values must be in the pool already. What the pool holds in slots
    without a token has no influence, non-finite values included.

    Args:
        query: [rows, heads, head_dim], the last two dimensions contiguous
        kv_pool: [block, layer, k/v, kv_head, token, head_dim]; bf16, fp16, fp32 or float8_e4m3fn
        work: of this batch, by `plan_prefill`
        output: [rows, heads * head_dim], contiguous
        sinks: [heads] contiguous, scores beside those of the keys; None: there are none
    """
    if supports_specialized(query, kv_pool, work, params):
        specialized_prefill(query, kv_pool, layer, batch, work, params, output, sinks)
        return
    num_rows, num_heads, head_dim = query.shape
    num_layers, _, num_kv_heads, block_size = kv_pool.shape[1:5]
    config, is_8bit = work.config, kv_pool.element_size() == 1
    query_scale = params.scale if is_8bit else 1.0
    score_scale = LOG2_E * params.key_scale * (1.0 if is_8bit else params.scale)
    softcap = params.softcap or 0.0
    num_tiles = max_num_tiles(num_rows, batch.max_sequences, work.queries_per_tile)
    _prefill_kernel[(num_kv_heads, num_tiles)](
        query,
        kv_pool,
        output,
        work.tiles,
        batch.block_tables,
        sinks,
        query.stride(0),
        batch.block_tables.stride(0),
        num_layers,
        layer,
        query_scale,
        2 * score_scale / softcap if softcap else score_scale,
        softcap * LOG2_E,
        params.value_scale,
        params.window or 0,
        HEAD_DIM=head_dim,
        BLOCK_D=max(triton.next_power_of_2(head_dim), 16),
        GROUP=num_heads // num_kv_heads,
        BLOCK_M=config.block_m,
        BLOCK_N=config.block_n,
        BLOCK_SIZE=block_size,
        HAS_WINDOW=params.window is not None,
        HAS_SOFTCAP=params.softcap is not None,
        num_warps=config.num_warps,
        num_stages=config.num_stages,
    )


@triton.jit(do_not_specialize=["num_layers", "layer", "window", "table_stride"])
def _prefill_kernel(
    query,  # [rows, heads, head_dim]
    kv_pool,  # [block, layer, k/v, kv_head, token, head_dim]
    output,  # [rows, heads, head_dim]
    tiles,  # [tiles, 4]
    block_tables,  # [sequences, max_blocks]
    sinks,  # [heads], or None
    query_stride,
    table_stride,
    num_layers,
    layer,
    query_scale,
    score_scale,
    scaled_softcap,
    value_scale,
    window,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
):
    kv_head = tl.program_id(0)
    num_kv_heads = tl.num_programs(0)
    tile = tiles + tl.program_id(1) * 4
    num_queries = tl.load(tile + 2)
    if num_queries == 0:
        return
    first_row, first_position = tl.load(tile + 1), tl.load(tile + 3)
    block_table = block_tables + tl.load(tile).to(tl.int64) * table_stride

    # Rows beyond the queries compute the last query again, and are not stored.
    row = tl.arange(0, BLOCK_M)
    query_index = tl.minimum(row // GROUP, num_queries - 1)
    head = kv_head * GROUP + row % GROUP
    feature = tl.arange(0, BLOCK_D)
    is_feature = feature < HEAD_DIM
    query_row = (first_row + query_index).to(tl.int64)
    queries = tl.load(
        query + query_row[:, None] * query_stride + head[:, None] * HEAD_DIM + feature[None, :],
        mask=is_feature[None, :],
        other=0.0,
    )
    queries = _in_pool_type(queries, kv_pool, query_scale)
    position = first_position + query_index
    begin, whole_begin, whole_end, end = _ends(
        first_position, num_queries, window, BLOCK_N, HAS_WINDOW
    )
    sums, weight = tl.zeros([BLOCK_M, BLOCK_D], tl.float32), tl.zeros([BLOCK_M], tl.float32)
    # Finite, so that rows that have seen no key yet are no special case.
    largest = tl.full([BLOCK_M], -1e30, tl.float32)
    pool_head = (layer * 2 * num_kv_heads + kv_head, num_layers * 2 * num_kv_heads, num_kv_heads)
    scales = (score_scale, scaled_softcap)
    if HAS_WINDOW:
        sums, weight, largest = _attend(
            queries, sums, weight, largest, kv_pool, block_table, pool_head, scales,
            position, window, begin, whole_begin, end,
            HEAD_DIM, BLOCK_D, BLOCK_N, BLOCK_SIZE, True, HAS_WINDOW, HAS_SOFTCAP,
        )  # fmt: skip
    sums, weight, largest = _attend(
        queries, sums, weight, largest, kv_pool, block_table, pool_head, scales,
        position, window, whole_begin, whole_end, end,
        HEAD_DIM, BLOCK_D, BLOCK_N, BLOCK_SIZE, False, HAS_WINDOW, HAS_SOFTCAP,
    )  # fmt: skip
    sums, weight, largest = _attend(
        queries, sums, weight, largest, kv_pool, block_table, pool_head, scales,
        position, window, whole_end, end, end,
        HEAD_DIM, BLOCK_D, BLOCK_N, BLOCK_SIZE, True, HAS_WINDOW, HAS_SOFTCAP,
    )  # fmt: skip

    weight = add_sinks(weight, largest, sinks, head)
    output_row = query_row * (num_kv_heads * GROUP) + head
    tl.store(
        output + output_row[:, None] * HEAD_DIM + feature[None, :],
        (sums * (value_scale / weight)[:, None]).to(output.dtype.element_ty),
        mask=(row < num_queries * GROUP)[:, None] & is_feature[None, :],
    )


@triton.jit
def _in_pool_type(queries, kv_pool, query_scale):
    """What products are computed in: the pool's type, or float16 where that has 8 bits."""
    if kv_pool.dtype.element_ty.primitive_bitwidth == 8:
        return (queries.to(tl.float32) * query_scale).to(tl.float16)
    else:
        return queries.to(kv_pool.dtype.element_ty)


@triton.jit
def _ends(first_position, num_queries, window, BLOCK_N: tl.constexpr, HAS_WINDOW: tl.constexpr):
    """Of the three loops: keys that are masked, those that all rows see, and masked ones again."""
    end = first_position + num_queries
    whole_end = (first_position + 1) // BLOCK_N * BLOCK_N
    begin = 0
    whole_begin = 0
    if HAS_WINDOW:
        begin = tl.maximum(first_position - window + 1, 0) // BLOCK_N * BLOCK_N
        whole_begin = tl.cdiv(tl.maximum(end - window, begin), BLOCK_N) * BLOCK_N
        whole_begin = tl.minimum(whole_begin, whole_end)
    return begin, whole_begin, whole_end, end


@triton.jit
def _attend(
    queries,  # [BLOCK_M, BLOCK_D]
    sums,  # [BLOCK_M, BLOCK_D] float32: values so far, weighted
    weight,  # [BLOCK_M] sum of their weights
    largest,  # [BLOCK_M] largest score so far
    kv_pool,
    block_table,
    pool_head,  # of the layer's keys in block 0; heads per block; heads from keys to values
    scales,
    position,  # [BLOCK_M] of each row's query
    window,
    begin,
    end,
    num_keys,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    IS_MASKED: tl.constexpr,
    HAS_WINDOW: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
):
    """Adds keys and values from `begin` (a multiple of BLOCK_N) up to `end`."""
    feature = tl.arange(0, BLOCK_D)
    offset = tl.arange(0, BLOCK_N)
    # Where a step's keys lie in one block, its number is a scalar.
    lookup = 0 if BLOCK_SIZE % BLOCK_N == 0 else offset
    next_block = tl.load(block_table + tl.minimum(begin + lookup, num_keys - 1) // BLOCK_SIZE)
    for first_key in tl.range(begin, end, BLOCK_N):
        key = first_key + offset
        exists = key < num_keys
        token = key % BLOCK_SIZE
        if BLOCK_SIZE % BLOCK_N == 0:
            token = first_key % BLOCK_SIZE + offset
        block = next_block
        # One step ahead: loads of keys that wait for a load of a block are not pipelined as deeply.
        next_key = tl.minimum(first_key + BLOCK_N + lookup, num_keys - 1)
        next_block = tl.load(block_table + next_key // BLOCK_SIZE)
        block_head = block.to(tl.int64) * pool_head[1] + pool_head[0]
        element = block_head * (BLOCK_SIZE * HEAD_DIM) + token * HEAD_DIM
        keys = kv_pool + element[:, None] + feature[None, :]
        values = keys + pool_head[2].to(tl.int64) * (BLOCK_SIZE * HEAD_DIM)
        if IS_MASKED:
            # Weights of 0 do not keep garbage out of the products with values: 0 * NaN is NaN.
            is_loaded = exists[:, None] & (feature < HEAD_DIM)[None, :]
            loaded_keys = tl.load(keys, mask=is_loaded, other=0.0)
            loaded_values = tl.load(values, mask=is_loaded, other=0.0)
        elif BLOCK_D != HEAD_DIM:
            loaded_keys = tl.load(keys, mask=(feature < HEAD_DIM)[None, :], other=0.0)
            loaded_values = tl.load(values, mask=(feature < HEAD_DIM)[None, :], other=0.0)
        else:
            loaded_keys = tl.load(keys)
            loaded_values = tl.load(values)

        scores = tl.dot(queries, loaded_keys.to(queries.dtype).T, input_precision="ieee")
        if HAS_SOFTCAP:  # softcap * tanh(x / softcap), as an exponential
            scores = scales[1] - 2 * scales[1] / (1 + tl.exp2(scores * scales[0]))
        if IS_MASKED:
            is_visible = key[None, :] <= position[:, None]
            if HAS_WINDOW:
                is_visible = is_visible & (key[None, :] > position[:, None] - window)
            scores = tl.where(is_visible, scores, -float("inf"))
        if HAS_SOFTCAP:
            new_largest = tl.maximum(largest, tl.max(scores, 1))
            weights = tl.exp2(scores - new_largest[:, None])
        else:
            new_largest = tl.maximum(largest, tl.max(scores, 1) * scales[0])
            weights = tl.exp2(scores * scales[0] - new_largest[:, None])
        decay = tl.exp2(largest - new_largest)
        weight = weight * decay + tl.sum(weights, 1)
        sums = sums * decay[:, None]
        sums = tl.dot(
            weights.to(queries.dtype), loaded_values.to(queries.dtype), sums, input_precision="ieee"
        )
        largest = new_largest
    return sums, weight, largest
