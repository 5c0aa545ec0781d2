"""How the products of experts are cut: pure functions of the shape, which the host knows.

Measured choices are in experts_table.py; tests/benchmarks/tune_experts.py measures them. For other
shapes it is a guess: few pairs for an expert are limited by how fast weights are read, so all of
the machine should have loads on their way; many want large tiles for tensor cores.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

MIN_BLOCK_PAIRS = 16  # tensor cores compute no fewer
MAX_BLOCK_PAIRS = 128

_MAX_SHARED_BYTES = 227 << 10  # of a program on a Hopper GPU
_SHARED_BYTES = 224 << 10  # of a multiprocessor, for all its programs
_MAX_STAGES = 8
# Of candidates: block_rows for each size of tiles.
_HEIGHTS = {16: (32, 64, 128), 32: (32, 64, 128), 64: (64, 128, 256), 128: (128, 256)}


@dataclass(frozen=True, slots=True)
class ProductConfig:
    """How one product, weights [rows, inputs] of each expert times its pairs, is cut.

    Attributes:
        block_rows: rows of a weight of one program; if gated, half of them are gates
        block_inputs: inputs that it loads at a time
        group_tiles: so many tiles of pairs are computed before the next rows of weights
        tail_pairs: a tile with as few pairs is computed as one of this size; 0: like any other
    """

    block_rows: int
    block_inputs: int
    num_warps: int
    num_stages: int
    group_tiles: int = 8
    tail_pairs: int = 0


@dataclass(frozen=True, slots=True)
class ProductShape:
    """A weight of [num_rows, num_inputs] for each expert, times tiles of `block_pairs`."""

    num_rows: int
    num_inputs: int
    block_pairs: int
    is_gated: bool


Table = dict[ProductShape, ProductConfig]


def block_pairs_of(num_pairs: int, num_experts: int) -> int:
    """Pairs of a tile: most experts' pairs fit into one, as long as tiles are not too large."""
    usual = 3 * num_pairs // (2 * num_experts)
    return min(max(1 << max(usual - 1, 0).bit_length(), MIN_BLOCK_PAIRS), MAX_BLOCK_PAIRS)


def choose_config(shape: ProductShape, num_bytes: int, table: Table) -> ProductConfig:
    """The configuration for values of `num_bytes`."""
    if num_bytes > 2:  # computed without tensor cores
        return ProductConfig(block_rows=32, block_inputs=32, num_warps=4, num_stages=2)
    if shape in table:
        return table[shape]
    if shape.block_pairs <= 32:
        return ProductConfig(block_rows=64, block_inputs=128, num_warps=4, num_stages=4)
    if shape.block_pairs <= 64:
        return ProductConfig(block_rows=128, block_inputs=64, num_warps=4, num_stages=4)
    if shape.is_gated:
        return ProductConfig(256, block_inputs=64, num_warps=8, num_stages=4, tail_pairs=64)
    # Inputs are few: one program's first loads and its end go on beside another's products.
    return ProductConfig(128, block_inputs=64, num_warps=4, num_stages=3, tail_pairs=64)


def candidates(block_pairs: int) -> tuple[ProductConfig, ...]:
    """What is worth measuring for values of two bytes, without repetitions."""
    return tuple(dict.fromkeys(_candidates(block_pairs)))


def _candidates(block_pairs: int) -> Iterator[ProductConfig]:
    heights = _HEIGHTS[block_pairs]
    for block_rows, block_inputs, occupancy in product(heights, (64, 128), (1, 2, 3)):
        stage_bytes = 2 * block_inputs * (block_rows + block_pairs)
        budget = min(_SHARED_BYTES // occupancy, _MAX_SHARED_BYTES)
        num_stages = min(_MAX_STAGES, budget // stage_bytes)
        for num_warps in (4, 8):
            num_sums = block_rows * block_pairs // (32 * num_warps)  # of a thread
            if num_stages >= 3 and num_sums <= 128 and (num_warps == 4 or num_sums >= 32):
                config = ProductConfig(block_rows, block_inputs, num_warps, num_stages)
                yield config
                if block_pairs == MAX_BLOCK_PAIRS and block_inputs == 64:
                    yield from (replace(config, tail_pairs=pairs) for pairs in (32, 64))
