"""Attention of some rows over some tiles of one sequence's keys, whose beginnings are the values.

    queries [rows, dims | rope_dims] . keys [tile, dims | rope_dims]  ->  scores [rows, tile]
    weights [rows, tile]             . keys [tile, dims]              ->  result [rows, dims]

A key is read once, for both products. Rows and dimensions are padded to powers of two. This module
does not know where rows come from.
"""

import triton
import triton.language as tl


@triton.jit
def load_queries(query, rows_mask, SHAPE: tl.constexpr):
    """Queries at pointers [rows], in two parts: [rows, dims] and [rows, rope_dims], 0 outside."""
    dims = tl.arange(0, SHAPE.dims)[None, :]
    rope_dims = tl.arange(0, SHAPE.rope_dims)[None, :]
    latent_mask = rows_mask[:, None] & (dims < SHAPE.latent_dim)
    rope_mask = rows_mask[:, None] & (rope_dims < SHAPE.rope_dim)
    latent = tl.load(query[:, None] + dims, latent_mask, other=0.0)
    rope = tl.load(query[:, None] + SHAPE.latent_dim + rope_dims, rope_mask, other=0.0)
    return latent, rope


@triton.jit
def attend(
    queries,
    rope_queries,
    positions,
    keys,
    block_table,
    first_tile,
    last_tile,
    num_keys,
    num_layers,
    score_scale,
    SHAPE: tl.constexpr,
):
    """Attention over the tiles from first_tile up to last_tile.

    Scores are the logarithms of weights to base 2, but for a constant.

    Args:
        queries, rope_queries: as `load_queries` returns them
        positions: [rows] of queries in their sequence: later keys are not seen
        keys: the layer's in the first block
        num_keys: of the sequence
        num_layers: of each block

    Returns:
        the weighted mean of values, [rows, dims], and log2 of the sum of weights, [rows]
    """
    ROWS: tl.constexpr = SHAPE.rows
    DIMS: tl.constexpr = SHAPE.dims
    TILE: tl.constexpr = SHAPE.tile
    BLOCK_SIZE: tl.constexpr = SHAPE.block_size
    largest = tl.full([ROWS], -1e30, tl.float32)
    weight_sum = tl.zeros([ROWS], tl.float32)
    result = tl.zeros([ROWS, DIMS], tl.float32)
    dims = tl.arange(0, SHAPE.dims)[None, :]
    rope_dims = tl.arange(0, SHAPE.rope_dims)[None, :]
    offset = tl.arange(0, TILE)
    # Where a tile lies in one block, its number is a scalar.
    lookup = 0 if BLOCK_SIZE % TILE == 0 else offset
    next_block = tl.load(
        block_table + tl.minimum(first_tile * TILE + lookup, num_keys - 1) // BLOCK_SIZE
    )
    for tile in range(first_tile, last_tile):
        # One step ahead: loads of keys that wait for a load are not pipelined as deeply.
        block = next_block
        next_token = tl.minimum((tile + 1) * TILE + lookup, num_keys - 1)
        next_block = tl.load(block_table + next_token // BLOCK_SIZE)
        first_token = tile * TILE
        token_key = keys + block.to(tl.int64) * num_layers * SHAPE.layer_elements
        if BLOCK_SIZE % TILE == 0:
            # One pointer, and offsets that stay the same: few registers.
            token_key += first_token % BLOCK_SIZE * SHAPE.stored_dim
            token_key += offset[:, None] * SHAPE.stored_dim
        else:
            slot = (first_token + offset) % BLOCK_SIZE
            token_key = (token_key + slot * SHAPE.stored_dim)[:, None]
        # What does not exist is not read: a weight of zero would not keep a NaN out.
        mask = (offset < num_keys - first_token)[:, None]
        rope_mask = mask
        if SHAPE.latent_dim != SHAPE.dims:
            mask = mask & (dims < SHAPE.latent_dim)
        if SHAPE.rope_dim != SHAPE.rope_dims:
            rope_mask = rope_mask & (rope_dims < SHAPE.rope_dim)
        latent = tl.load(token_key + dims, mask, other=0.0)
        rope = tl.load(token_key + SHAPE.latent_dim + rope_dims, rope_mask, other=0.0)
        scores = tl.dot(queries, tl.trans(latent), input_precision="ieee")
        scores = tl.dot(rope_queries, tl.trans(rope), scores, input_precision="ieee")
        is_visible = offset[None, :] <= (positions - first_token)[:, None]
        scores = tl.where(is_visible, scores * score_scale, float("-inf"))
        new_largest = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.exp2(scores - new_largest[:, None])
        decay = tl.exp2(largest - new_largest)
        weight_sum = weight_sum * decay + tl.sum(weights, 1)
        result *= decay[:, None]
        result = tl.dot(weights.to(latent.dtype), latent, result, input_precision="ieee")
        largest = new_largest
    return result / weight_sum[:, None], largest + tl.log2(weight_sum)
