"""From the projections of latent attention to what it reads, in one launch.

    programs    | one for each token: norm, rotation, block pool | rows of queries: rotation |

A row of queries is one head of one token, as far as it turns.
"""

import torch
import triton
import triton.language as tl

from legato.kernels.gpu.device import can_launch_early
from legato.kernels.latent_input import LatentNorm

_ROWS = 32  # of queries, that one program takes


def rotate_and_write_latent(
    turned: torch.Tensor,
    stored: torch.Tensor,
    query: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    norm: LatentNorm,
    kv_pool: torch.Tensor,
    layer: int,
    slots: torch.Tensor,
) -> None:
    """Completes queries, and stores what the tokens leave for later ones.

    Args:
        turned: [tokens, heads, rope_dim], values of a head adjacent
        stored: [tokens, latent_dim + rope_dim], values of a token adjacent
        query: [tokens, heads, latent_dim + rope_dim] contiguous; its last rope_dim are written
        rotary: cosines and sines of `rotary_tables`, each [tokens, 1, rope_dim]
        kv_pool: [block, layer, 1, 1, token, latent_dim + rope_dim] contiguous, written in place
        slots: [tokens] int64, block_id * block_size + offset; -1: nothing is stored
    """
    num_tokens, num_heads, rope_dim = turned.shape
    latent_dim = norm.weight.shape[0]
    assert turned.stride(2) == stored.stride(1) == 1
    assert query.is_contiguous() and kv_pool.is_contiguous() and rotary[0].is_contiguous()
    is_early = can_launch_early(query.device)
    num_programs = num_tokens + triton.cdiv(num_tokens * num_heads, _ROWS)
    latent_input_kernel[(num_programs,)](
        turned,
        stored,
        query,
        rotary[0],
        rotary[1],
        norm.weight,
        kv_pool,
        slots,
        num_tokens,
        layer,
        norm.eps,
        turned.stride(0),
        turned.stride(1),
        stored.stride(0),
        NUM_HEADS=num_heads,
        LATENT_DIM=latent_dim,
        HALF=rope_dim // 2,
        NUM_LAYERS=kv_pool.shape[1],
        BLOCK_SIZE=kv_pool.shape[4],
        ROWS=_ROWS,
        BLOCK_LATENT=triton.next_power_of_2(latent_dim),
        BLOCK_HALF=triton.next_power_of_2(rope_dim // 2),
        IS_EARLY=is_early,
        num_warps=4,
        launch_pdl=is_early,
    )


@triton.jit(do_not_specialize=["num_tokens", "layer"])
def latent_input_kernel(
    turned,
    stored,
    query,
    cosines,
    sines,
    norm_weight,
    kv_pool,
    slots,
    num_tokens,
    layer,
    eps,
    turned_token_stride,
    turned_head_stride,
    stored_stride,
    NUM_HEADS: tl.constexpr,
    LATENT_DIM: tl.constexpr,
    HALF: tl.constexpr,
    NUM_LAYERS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_LATENT: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    STORED_DIM: tl.constexpr = LATENT_DIM + 2 * HALF
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    program = tl.program_id(0)
    if program < num_tokens:
        slot = tl.load(slots + program)
        token = program.to(tl.int64)
        columns = tl.arange(0, BLOCK_LATENT)
        is_column = columns < LATENT_DIM
        entry = stored + token * stored_stride
        latent = tl.load(entry + columns, is_column, other=0.0).to(tl.float32)
        weight = tl.load(norm_weight + columns, is_column, other=0.0).to(tl.float32)
        latent *= tl.rsqrt(tl.sum(latent * latent, 0) / LATENT_DIM + eps) * weight
        token_slot = ((slot // BLOCK_SIZE) * NUM_LAYERS + layer) * BLOCK_SIZE + slot % BLOCK_SIZE
        slot_start = kv_pool + token_slot * STORED_DIM
        is_stored = slot >= 0
        tl.store(slot_start + columns, latent.to(kv_pool.dtype.element_ty), is_column & is_stored)
        first = tl.zeros([1], tl.int64)
        rest, place = entry + LATENT_DIM + first, slot_start + LATENT_DIM + first
        exists = is_stored & (first == 0)
        _rotate(rest, place, token + first, exists, cosines, sines, HALF, BLOCK_HALF)
    else:
        rows = (program - num_tokens) * ROWS + tl.arange(0, ROWS)
        is_row = rows < num_tokens * NUM_HEADS
        tokens, heads = (rows // NUM_HEADS).to(tl.int64), rows % NUM_HEADS
        source = turned + tokens * turned_token_stride + heads * turned_head_stride
        target = query + (tokens * NUM_HEADS + heads) * STORED_DIM + LATENT_DIM
        _rotate(source, target, tokens, is_row, cosines, sines, HALF, BLOCK_HALF)


@triton.jit
def _rotate(
    source,
    target,
    tokens,
    is_row,
    cosines,
    sines,
    HALF: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
):
    """Turns rows, by the half of the tables that is not negated."""
    columns = tl.arange(0, BLOCK_HALF)[None, :]
    mask = is_row[:, None] & (columns < HALF)
    entries = tokens[:, None] * 2 * HALF + HALF + columns
    cosine = tl.load(cosines + entries, mask, other=0.0).to(tl.float32)
    sine = tl.load(sines + entries, mask, other=0.0).to(tl.float32)
    first = tl.load(source[:, None] + columns, mask, other=0.0).to(tl.float32)
    second = tl.load(source[:, None] + HALF + columns, mask, other=0.0).to(tl.float32)
    dtype = target.dtype.element_ty
    tl.store(target[:, None] + columns, (first * cosine - second * sine).to(dtype), mask)
    tl.store(target[:, None] + HALF + columns, (second * cosine + first * sine).to(dtype), mask)
