"""From a layer's projections to what its attention reads, in one call.

qkv [tokens, heads + 2 * kv_heads, head_dim]
    queries   -> norm -> rotation -> in place
    keys      -> norm -> rotation -> block pool
    values    ->                     block pool
"""

from dataclasses import dataclass

import torch

from legato.kernels.attention_params import AttentionParams
from legato.kernels.norm import rms_norm
from legato.kernels.rotary import apply_rotary_

FP8_MAX = 448.0  # largest finite float8_e4m3fn


@dataclass(frozen=True, slots=True, eq=False)
class QKNorm:
    """Norm of each query and each key; the weights are [head_dim]."""

    query_weight: torch.Tensor
    key_weight: torch.Tensor
    eps: float


def rotate_and_write(
    qkv: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    qk_norm: QKNorm | None,
    kv_pool: torch.Tensor,
    layer: int,
    slots: torch.Tensor,
    params: AttentionParams,
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
    num_kv_heads = kv_pool.shape[3]
    query_key = qkv[:, :-num_kv_heads]
    if qk_norm is not None:
        query, key = query_key[:, :-num_kv_heads], query_key[:, -num_kv_heads:]
        query.copy_(rms_norm(query, qk_norm.query_weight, qk_norm.eps))
        key.copy_(rms_norm(key, qk_norm.key_weight, qk_norm.eps))
    apply_rotary_(query_key[..., : rotary[0].shape[-1]], *rotary)

    keys_values = qkv[:, -2 * num_kv_heads :]
    if kv_pool.dtype is torch.float8_e4m3fn:
        keys_values = _to_fp8(keys_values, params)
    _write(keys_values, kv_pool, layer, slots)


def _to_fp8(keys_values: torch.Tensor, params: AttentionParams) -> torch.Tensor:
    scaled = keys_values.float()
    keys, values = scaled.chunk(2, dim=1)
    keys.mul_(1 / params.key_scale)
    values.mul_(1 / params.value_scale)
    return scaled.clamp_(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn)


def _write(
    keys_values: torch.Tensor, kv_pool: torch.Tensor, layer: int, slots: torch.Tensor
) -> None:
    if slots.shape[0] and int(slots.min()) < 0:
        is_token = slots >= 0
        keys_values, slots = keys_values[is_token], slots[is_token]
    block_size = kv_pool.shape[4]
    blocks = slots.div(block_size, rounding_mode="floor")
    offsets = slots - blocks * block_size
    of_tokens = kv_pool[:, layer].flatten(1, 2).transpose(1, 2)  # [block, token, head, head_dim]
    of_tokens.index_put_((blocks, offsets), keys_values)
