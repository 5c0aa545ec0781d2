import pytest
import torch

from legato.kernels.attention_input import QKNorm, rotate_and_write
from legato.kernels.attention_params import AttentionParams
from legato.kernels.norm import rms_norm
from legato.kernels.rotary import apply_rotary_, rotary_tables

HEADS, KV_HEADS, HEAD_DIM, BLOCK_SIZE, LAYER = 4, 2, 8, 4, 1
SLOTS = [13, -1, 0, 7, 6]
PLAIN = AttentionParams(scale=1.0)


def make_pool(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(5, 3, 2, KV_HEADS, BLOCK_SIZE, HEAD_DIM).to(dtype)


def make_qkv() -> torch.Tensor:
    return torch.randn(len(SLOTS), HEADS + 2 * KV_HEADS, HEAD_DIM)


def make_tables(rotary_dim: int = HEAD_DIM) -> tuple[torch.Tensor, torch.Tensor]:
    frequencies = torch.rand(rotary_dim // 2)
    return rotary_tables(torch.arange(3, 3 + len(SLOTS)), frequencies, 1.0, torch.float32)


def stored(pool: torch.Tensor, slot: int) -> torch.Tensor:
    """[2 * kv_heads, head_dim] of one token."""
    return pool[slot // BLOCK_SIZE, LAYER, :, :, slot % BLOCK_SIZE].flatten(0, 1)


@pytest.mark.parametrize("has_norm", [False, True])
@pytest.mark.parametrize("rotary_dim", [8, 4, 2])
def test_queries_turn_in_place_and_keys_on_their_way_to_the_pool(
    rotary_dim: int, has_norm: bool
) -> None:
    qkv, pool, tables = make_qkv(), make_pool(), make_tables(rotary_dim)
    wanted = qkv.clone()
    qk_norm = QKNorm(torch.rand(HEAD_DIM), torch.rand(HEAD_DIM), 1e-5) if has_norm else None
    query_key = wanted[:, : HEADS + KV_HEADS]
    if qk_norm is not None:
        query, key = query_key.split((HEADS, KV_HEADS), dim=1)
        query.copy_(rms_norm(query, qk_norm.query_weight, qk_norm.eps))
        key.copy_(rms_norm(key, qk_norm.key_weight, qk_norm.eps))
    apply_rotary_(query_key[..., :rotary_dim], *tables)

    rotate_and_write(qkv, tables, qk_norm, pool, LAYER, torch.tensor(SLOTS), PLAIN)
    torch.testing.assert_close(qkv[:, :HEADS], wanted[:, :HEADS])
    for token, slot in enumerate(SLOTS):
        if slot >= 0:
            torch.testing.assert_close(stored(pool, slot), wanted[token, HEADS:])


def test_padding_and_what_belongs_to_others_stay() -> None:
    pool = make_pool()
    before = pool.clone()
    rotate_and_write(make_qkv(), make_tables(), None, pool, LAYER, torch.tensor(SLOTS), PLAIN)
    for slot in SLOTS:
        if slot >= 0:
            block, offset = slot // BLOCK_SIZE, slot % BLOCK_SIZE
            pool[block, LAYER, :, :, offset] = before[block, LAYER, :, :, offset]
    assert torch.equal(pool, before)


def test_pools_of_eight_bits_get_scaled_and_saturated_values() -> None:
    pool, params = make_pool(torch.float8_e4m3fn), AttentionParams(1.0, None, None, 0.5, 2.0)
    qkv = torch.full((len(SLOTS), HEADS + 2 * KV_HEADS, HEAD_DIM), 3.0)
    qkv[0] = -1000.0
    still = make_tables()[0].fill_(1.0), torch.zeros(len(SLOTS), 1, HEAD_DIM)
    rotate_and_write(qkv, still, None, pool, LAYER, torch.tensor(SLOTS), params)
    assert stored(pool, 13).float().unique(dim=1).flatten().tolist() == [-448, -448, -448, -448]
    assert stored(pool, 7).float().unique(dim=1).flatten().tolist() == [6, 6, 1.5, 1.5]


def test_no_tokens_are_no_error() -> None:
    pool, tables = make_pool(), make_tables()
    before, empty = pool.clone(), (tables[0][:0], tables[1][:0])
    slots = torch.tensor([], dtype=torch.int64)
    rotate_and_write(make_qkv()[:0], empty, None, pool, LAYER, slots, PLAIN)
    assert torch.equal(pool, before)
