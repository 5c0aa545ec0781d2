"""From a layer's projections to what its attention reads, in one launch.

    qkv [tokens, heads + 2 * kv_heads, head_dim]
        queries   -> norm -> rotation -> in place
        keys      -> norm -> rotation -> block pool
        values    ->                     block pool

A row is one head of one token. The first programs store rows of keys and values, the others turn
rows of queries; each takes the same number of rows. A row is held in three parts, so that the two
halves that turn into each other meet in one lane:

    | first half | second half | dimensions that do not turn |
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from legato.kernels.attention_input import FP8_MAX, QKNorm
from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.device import can_launch_early

_FP8_MAX = tl.constexpr(FP8_MAX)


@dataclass(frozen=True, slots=True)
class AttentionInputConfig:
    """`rows`: heads of tokens that one program takes."""

    rows: int
    num_warps: int


def choose_config(num_tokens: int) -> AttentionInputConfig:
    """Few tokens: one 16-byte vector of each half a lane, at a head_dim of 128."""
    return AttentionInputConfig(rows=16 if num_tokens <= 512 else 32, num_warps=4)


def rotate_and_write(
    qkv: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    qk_norm: QKNorm | None,
    kv_pool: torch.Tensor,
    layer: int,
    slots: torch.Tensor,
    params: AttentionParams,
    *,
    config: AttentionInputConfig | None = None,
) -> None:
    """Norms and rotates queries in place; stores normed, rotated keys and plain values.

    What `qkv` holds in place of the keys and values afterwards is undefined.

    Args:
        qkv: [tokens, heads + 2 * kv_heads, head_dim] contiguous, changed in place
        rotary: cosines and sines of `rotary_tables`, each [tokens, 1, rotary_dim]; with fewer
            dimensions than head_dim, only the first ones turn
        kv_pool: [block, layer, k/v, kv_head, token, head_dim] contiguous, written in place; a pool
            of float8_e4m3fn gets x / scale, saturated
        slots: [tokens] int64, block_id * block_size + offset; -1: nothing is stored
        params: its key_scale and value_scale are read
    """
    num_tokens, num_all_heads, head_dim = qkv.shape
    num_layers, _, num_kv_heads, block_size, _ = kv_pool.shape[1:]
    num_heads = num_all_heads - 2 * num_kv_heads
    rotary_dim = rotary[0].shape[-1]
    assert qkv.is_contiguous() and kv_pool.is_contiguous() and rotary[0].is_contiguous()
    config = config or choose_config(num_tokens)
    is_early = can_launch_early(qkv.device)
    num_programs = sum(triton.cdiv(num_tokens * n, config.rows) for n in (num_kv_heads, num_heads))
    rotate_and_write_kernel[(num_programs,)](
        qkv,
        rotary[0],
        rotary[1],
        None if qk_norm is None else qk_norm.query_weight,
        None if qk_norm is None else qk_norm.key_weight,
        kv_pool,
        slots,
        num_tokens,
        layer,
        0.0 if qk_norm is None else qk_norm.eps,
        1 / params.key_scale,
        1 / params.value_scale,
        NUM_HEADS=num_heads,
        NUM_KV_HEADS=num_kv_heads,
        HEAD_DIM=head_dim,
        HALF=rotary_dim // 2,
        NUM_LAYERS=num_layers,
        BLOCK_SIZE=block_size,
        ROWS=config.rows,
        BLOCK_HALF=triton.next_power_of_2(rotary_dim // 2),
        BLOCK_REST=triton.next_power_of_2(max(head_dim - rotary_dim, 1)),
        IS_EARLY=is_early,
        num_warps=config.num_warps,
        launch_pdl=is_early,
    )


@triton.jit(do_not_specialize=["num_tokens", "layer"])
def rotate_and_write_kernel(
    qkv,
    cosines,
    sines,
    query_weight,
    key_weight,
    kv_pool,
    slots,
    num_tokens,
    layer,
    eps,
    inverse_key_scale,
    inverse_value_scale,
    NUM_HEADS: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HALF: tl.constexpr,
    NUM_LAYERS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_REST: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    NUM_ALL_HEADS: tl.constexpr = NUM_HEADS + 2 * NUM_KV_HEADS
    REST: tl.constexpr = HEAD_DIM - 2 * HALF
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    program = tl.program_id(0)
    num_kv_programs = tl.cdiv(num_tokens * NUM_KV_HEADS, ROWS)
    if program < num_kv_programs:
        rows = program * ROWS + tl.arange(0, ROWS)
        is_row = rows < num_tokens * NUM_KV_HEADS
        tokens, heads = (rows // NUM_KV_HEADS).to(tl.int64), rows % NUM_KV_HEADS
        slot = tl.load(slots + tokens, is_row, other=-1)
        key = qkv + (tokens * NUM_ALL_HEADS + NUM_HEADS + heads) * HEAD_DIM
        value = key + NUM_KV_HEADS * HEAD_DIM
        v1, v2, v3 = _load_parts(value, is_row, HALF, REST, BLOCK_HALF, BLOCK_REST)
        k1, k2, k3 = _load_parts(key, is_row, HALF, REST, BLOCK_HALF, BLOCK_REST)
        if key_weight is not None:
            k1, k2, k3 = _norm(k1, k2, k3, key_weight, eps, HALF, REST, BLOCK_HALF, BLOCK_REST)
        k1, k2 = _rotate(k1, k2, cosines, sines, tokens, is_row, HALF, BLOCK_HALF)

        pool_head = ((slot // BLOCK_SIZE) * NUM_LAYERS + layer) * 2 * NUM_KV_HEADS + heads
        key_slot = kv_pool + (pool_head * BLOCK_SIZE + slot % BLOCK_SIZE) * HEAD_DIM
        value_slot = key_slot + NUM_KV_HEADS * BLOCK_SIZE * HEAD_DIM
        _store_parts(key_slot, k1, k2, k3, slot >= 0, inverse_key_scale, HALF, REST)
        _store_parts(value_slot, v1, v2, v3, slot >= 0, inverse_value_scale, HALF, REST)
    else:
        rows = (program - num_kv_programs) * ROWS + tl.arange(0, ROWS)
        is_row = rows < num_tokens * NUM_HEADS
        tokens, heads = (rows // NUM_HEADS).to(tl.int64), rows % NUM_HEADS
        query = qkv + (tokens * NUM_ALL_HEADS + heads) * HEAD_DIM
        q1, q2, q3 = _load_parts(query, is_row, HALF, REST, BLOCK_HALF, BLOCK_REST)
        if query_weight is not None:
            q1, q2, q3 = _norm(q1, q2, q3, query_weight, eps, HALF, REST, BLOCK_HALF, BLOCK_REST)
        q1, q2 = _rotate(q1, q2, cosines, sines, tokens, is_row, HALF, BLOCK_HALF)
        _store_parts(query, q1, q2, q3, is_row, 1.0, HALF, REST)


@triton.jit
def _load_parts(
    row,
    is_row,
    HALF: tl.constexpr,
    REST: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_REST: tl.constexpr,
):
    """Both halves [rows, half] and the rest [rows, rest] of each row, float32, 0 outside."""
    columns, others = tl.arange(0, BLOCK_HALF)[None, :], tl.arange(0, BLOCK_REST)[None, :]
    in_half, in_rest = is_row[:, None] & (columns < HALF), is_row[:, None] & (others < REST)
    first = tl.load(row[:, None] + columns, in_half, other=0.0)
    second = tl.load(row[:, None] + HALF + columns, in_half, other=0.0)
    rest = tl.load(row[:, None] + 2 * HALF + others, in_rest, other=0.0)
    return first.to(tl.float32), second.to(tl.float32), rest.to(tl.float32)


@triton.jit
def _norm(
    first,
    second,
    rest,
    weight,
    eps,
    HALF: tl.constexpr,
    REST: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_REST: tl.constexpr,
):
    """Each row at a root mean square of one, times the weight."""
    squares = tl.sum(first * first + second * second, axis=1) + tl.sum(rest * rest, axis=1)
    factor = tl.rsqrt(squares / (2 * HALF + REST) + eps)
    is_all = tl.full((1,), 1, tl.int1)
    w1, w2, w3 = _load_parts(
        weight + tl.zeros((1,), tl.int32), is_all, HALF, REST, BLOCK_HALF, BLOCK_REST
    )
    factor = factor[:, None]
    return first * factor * w1, second * factor * w2, rest * factor * w3


@triton.jit
def _rotate(
    first, second, cosines, sines, tokens, is_row, HALF: tl.constexpr, BLOCK_HALF: tl.constexpr
):
    """Both halves turned; of the tables, the half that is not negated is read."""
    columns = tl.arange(0, BLOCK_HALF)[None, :]
    entries = tokens[:, None] * 2 * HALF + HALF + columns
    mask = is_row[:, None] & (columns < HALF)
    cosine = tl.load(cosines + entries, mask, other=0.0).to(tl.float32)
    sine = tl.load(sines + entries, mask, other=0.0).to(tl.float32)
    return first * cosine - second * sine, second * cosine + first * sine


@triton.jit
def _store_parts(
    row, first, second, rest, is_row, inverse_scale, HALF: tl.constexpr, REST: tl.constexpr
):
    """Stores what `_load_parts` loads; 8-bit targets get scaled and saturated values."""
    columns = tl.arange(0, first.shape[1])[None, :]
    others = tl.arange(0, rest.shape[1])[None, :]
    in_half, in_rest = is_row[:, None] & (columns < HALF), is_row[:, None] & (others < REST)
    tl.store(row[:, None] + columns, _stored(first, row, inverse_scale), in_half)
    tl.store(row[:, None] + HALF + columns, _stored(second, row, inverse_scale), in_half)
    tl.store(row[:, None] + 2 * HALF + others, _stored(rest, row, inverse_scale), in_rest)


@triton.jit
def _stored(values, row, inverse_scale):
    """`values` in the type that `row` points at."""
    if row.dtype.element_ty == tl.float8e4nv:
        values = tl.clamp(values * inverse_scale, -_FP8_MAX, _FP8_MAX)
    return values.to(row.dtype.element_ty)
