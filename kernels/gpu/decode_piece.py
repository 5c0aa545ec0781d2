"""Computes a piece of decode attention, or a part of it.

A piece is what the query heads that share a KV head compute over one sequence. Their queries are
the rows of one small matrix:

    queries [rows, dims] . keys [tile, dims]  ->  scores [rows, tile]
    weights [rows, tile] . values [tile, dims]  ->  result [rows, dims]

Rows and dims are padded to powers of two. Where operands are swapped, all of this is transposed.

Numbers of 8 bits have no matrix products with float16's precision, and single bytes are slow to
move. A pool of them is read as pairs, [tile, dims / 2] of 16 bits, and each product above becomes
two, one for even and one for odd dims.

This module does not know how pieces are shared out, nor which parts are computed where.
"""

from dataclasses import dataclass

import triton
import triton.language as tl

_MIN_ROWS = 16  # of a matrix product
_MIN_DIMS = 16
# Of partial results, that are in registers at once while they are merged: elements of outputs, and
# log-sum-exps.
_MERGED_ELEMENTS = 8192
_MERGED_LSES = 512


@dataclass(frozen=True, slots=True)
class PieceShape:
    """What a variant of the kernel is compiled for.

    Attributes:
        group: query heads of a KV head
        block_size, tile: tokens; powers of two
        packing: dims in an element of the pool: 2 if they have 8 bits, else 1
        prefetches: asks for a piece's first tiles early; not on a CPU
        is_interpreted: on a CPU, where there is no assembly
    """

    group: int
    num_kv_heads: int
    head_dim: int
    block_size: int
    tile: int
    has_softcap: bool
    swaps_operands: bool
    packing: int = 1
    prefetches: bool = False
    is_interpreted: bool = False

    @property
    def rows(self) -> int:
        """The group, padded to what matrix products need."""
        return max(_MIN_ROWS, self.merged_rows)

    @property
    def dims(self) -> int:
        """The head's dimensions, padded to what matrix products need."""
        return max(_MIN_DIMS * self.packing, int(triton.next_power_of_2(self.head_dim)))

    @property
    def block_elements(self) -> int:
        """Of the pool that the keys of a block and head take."""
        return self.block_size * self.token_elements

    @property
    def token_elements(self) -> int:
        """Of the pool that the key of a token and head takes."""
        return self.head_dim // self.packing

    @property
    def columns(self) -> int:
        """Elements of a token, padded to a power of two."""
        return self.dims // self.packing

    @property
    def token_lines(self) -> int:
        """Cache lines of a key, padding included: 32 columns are at least 64 bytes."""
        return max(1, self.columns // 64)

    @property
    def merged_rows(self) -> int:
        """The group, padded to a power of two."""
        return int(triton.next_power_of_2(self.group))

    @property
    def merged_dims(self) -> int:
        """Of an output, that are merged at once."""
        return self.dims

    @property
    def merged_parts(self) -> int:
        """Parts that are merged at once."""
        return max(2, _MERGED_ELEMENTS // (self.merged_rows * self.dims))

    @property
    def merged_lses(self) -> int:
        """Parts whose log-sum-exps are summed up at once."""
        return max(2, _MERGED_LSES // self.merged_rows)


@triton.jit
def attend(
    queries,
    key_pool,
    block_table,
    first_tile,
    num_tiles,
    first_token,
    context_len,
    pool_heads,
    score_scale,
    softcap,
    SHAPE: tl.constexpr,
):
    """Attention of queries over some tiles of one sequence's KV head.

    Scores are the logarithms of weights to base 2, but for a constant.

    Args:
        queries: [rows, dims], zero where padded
        key_pool: keys of this head in the first block, or pairs of their dims; the head's values
            lie num_kv_heads behind
        first_token: the first that is visible; `context_len` is behind the last
        pool_heads: heads of keys and values that a block has in all layers

    Returns:
        the weighted mean of values, [rows, dims], and log2 of the sum of weights, [rows]
    """
    ROWS: tl.constexpr = SHAPE.rows
    COLUMNS: tl.constexpr = SHAPE.columns
    TILE: tl.constexpr = SHAPE.tile
    TOKEN_AXIS: tl.constexpr = 0 if SHAPE.swaps_operands else 1
    columns = tl.arange(0, COLUMNS)
    largest = tl.full([ROWS], float("-inf"), tl.float32)
    # Weights are summed up across threads only once, at the end.
    if SHAPE.swaps_operands:
        weight_sums = tl.zeros([TILE, ROWS], tl.float32)
        result = tl.zeros([COLUMNS, ROWS], tl.float32)
    else:
        weight_sums = tl.zeros([ROWS, TILE], tl.float32)
        result = tl.zeros([ROWS, COLUMNS], tl.float32)
    odd_queries, odd_result = queries, result
    if SHAPE.packing == 2:
        queries, odd_queries = tl.split(tl.reshape(queries, [ROWS, COLUMNS, 2]))
    if SHAPE.swaps_operands:
        queries, odd_queries = tl.trans(queries), tl.trans(odd_queries)
    next_blocks = _blocks_of_tile(block_table, first_tile, first_token, context_len, SHAPE)
    for tile in range(first_tile, first_tile + num_tiles):
        token = tile * TILE + tl.arange(0, TILE)
        is_visible = (token >= first_token) & (token < context_len)
        # Loaded a round ahead: loads that wait for loads would halve the pipeline's depth.
        blocks = next_blocks
        next_blocks = _blocks_of_tile(block_table, tile + 1, first_token, context_len, SHAPE)
        offsets = _token_offsets(blocks, tile, pool_heads, SHAPE)
        pointers = key_pool + offsets[:, None] + columns[None, :]
        # What is not visible is not read: a weight of zero would not keep a NaN out.
        mask = is_visible[:, None] & (columns < SHAPE.token_elements)[None, :]
        keys = tl.load(pointers, mask, 0)
        scores = _scores(queries, odd_queries, keys, score_scale, softcap, SHAPE)
        scores = tl.where(tl.expand_dims(is_visible, 1 - TOKEN_AXIS), scores, float("-inf"))
        new_largest = tl.maximum(largest, tl.max(scores, TOKEN_AXIS))
        weights = tl.exp2(scores - tl.expand_dims(new_largest, TOKEN_AXIS))
        correction = tl.expand_dims(tl.exp2(largest - new_largest), TOKEN_AXIS)
        weight_sums = weight_sums * correction + weights
        largest = new_largest
        weights = weights.to(queries.dtype)
        values = tl.load(pointers + SHAPE.num_kv_heads * SHAPE.block_elements, mask, 0)
        result *= correction
        if SHAPE.packing == 2:
            values, odd_values = _unpacked(values, SHAPE.is_interpreted)
            odd_result *= correction
            odd_result += _product(weights, odd_values, SHAPE.swaps_operands)
        result += _product(weights, values, SHAPE.swaps_operands)
    weight_sum = tl.sum(weight_sums, TOKEN_AXIS)
    if SHAPE.swaps_operands:
        result, odd_result = tl.trans(result), tl.trans(odd_result)
    if SHAPE.packing == 2:
        result = tl.interleave(result, odd_result)
    return result / weight_sum[:, None], largest + tl.log2(weight_sum)


@triton.jit
def _scores(queries, odd_queries, keys, score_scale, softcap, SHAPE: tl.constexpr):
    if SHAPE.packing == 2:
        keys, odd_keys = _unpacked(keys, SHAPE.is_interpreted)
        scores = _product(queries, tl.trans(keys), SHAPE.swaps_operands)
        scores += _product(odd_queries, tl.trans(odd_keys), SHAPE.swaps_operands)
    else:
        scores = _product(queries, tl.trans(keys), SHAPE.swaps_operands)
    scores *= score_scale
    if SHAPE.has_softcap:  # softcap * tanh
        scores = softcap - 2 * softcap / (1 + tl.exp2(scores))
    return scores


@triton.jit
def _unpacked(pairs, IS_INTERPRETED: tl.constexpr):
    """The first and the second of each pair of 8-bit numbers, both float16.

    In assembly, since the compiler takes what comes in pairs of pairs apart, byte by byte.
    """
    if IS_INTERPRETED:
        first = (pairs & 0xFF).to(tl.uint8).to(tl.float8e4nv, bitcast=True).to(tl.float16)
        second = (pairs >> 8).to(tl.uint8).to(tl.float8e4nv, bitcast=True).to(tl.float16)
    else:
        first, second = tl.inline_asm_elementwise(
            """{
            .reg .b32 sorted;
            .reg .b16 first, second;
            prmt.b32 sorted, $2, 0, 0x3120;
            mov.b32 {first, second}, sorted;
            cvt.rn.f16x2.e4m3x2 $0, first;
            cvt.rn.f16x2.e4m3x2 $1, second;
            }""",
            "=r,=r,r",
            [pairs],
            dtype=(tl.float16, tl.float16),
            is_pure=True,
            pack=2,
        )
    return first, second


@triton.jit
def _product(a, b, IS_TRANSPOSED: tl.constexpr):
    """a @ b; where transposed, a and the result are so: (a @ b).T = b.T @ a.T."""
    if IS_TRANSPOSED:
        result = tl.dot(tl.trans(b), a, input_precision="ieee")
    else:
        result = tl.dot(a, b, input_precision="ieee")
    return result


@triton.jit
def _blocks_of_tile(block_table, tile, first_token, context_len, SHAPE: tl.constexpr):
    """The block of a tile, or where blocks are smaller, of each of its tokens, [tile]."""
    TILE: tl.constexpr = SHAPE.tile
    BLOCK_SIZE: tl.constexpr = SHAPE.block_size
    NUM_PARTS: tl.constexpr = TILE // BLOCK_SIZE
    if NUM_PARTS <= 1:
        blocks = tl.load(block_table + tile * TILE // BLOCK_SIZE, tile * TILE < context_len, 0)
    else:
        blocks = tl.zeros([TILE], tl.int32)
        part_of_token = tl.arange(0, TILE) // BLOCK_SIZE
        for part in tl.static_range(NUM_PARTS):
            first = tile * TILE + part * BLOCK_SIZE
            is_used = (first < context_len) & (first + BLOCK_SIZE > first_token)
            block = tl.load(block_table + first // BLOCK_SIZE, is_used, 0)
            blocks = tl.where(part_of_token == part, block, blocks)
    return blocks


@triton.jit
def _token_offsets(blocks, tile, pool_heads, SHAPE: tl.constexpr):
    """Where a tile's tokens are, seen from the first block, in elements, [tile] int64."""
    slot = tile * SHAPE.tile % SHAPE.block_size + tl.arange(0, SHAPE.tile) % SHAPE.block_size
    block_offsets = blocks.to(tl.int64) * pool_heads * SHAPE.block_elements
    return block_offsets + slot * SHAPE.token_elements


@triton.jit
def prefetch(
    key_pool,
    block_table,
    first_tile,
    num_tiles,
    first_token,
    context_len,
    pool_heads,
    SHAPE: tl.constexpr,
):
    """Asks for keys and values of the first tiles that `attend` is going to read.

    They come as far as the second-level cache, which is coherent: other programs may still write.
    """
    LINES: tl.constexpr = SHAPE.token_lines
    line_elements: tl.constexpr = SHAPE.columns // LINES
    for tile in tl.range(first_tile, first_tile + tl.minimum(num_tiles, 2), num_stages=1):
        blocks = _blocks_of_tile(block_table, tile, first_token, context_len, SHAPE)
        offsets = _token_offsets(blocks, tile, pool_heads, SHAPE)
        keys = key_pool + offsets[:, None] + tl.arange(0, LINES)[None, :] * line_elements
        _prefetch_lines(keys)
        _prefetch_lines(keys + SHAPE.num_kv_heads * SHAPE.block_elements)


@triton.jit
def _prefetch_lines(pointers):
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; mov.u32 $0, 0;",
        "=r,l",
        [pointers],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )
