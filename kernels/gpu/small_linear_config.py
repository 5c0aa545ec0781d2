"""Which kernel multiplies few rows, and how it is cut: a pure function of the shape.

Measured choices are in small_linear_table.py; tests/benchmarks/tune_linear.py measures them. For
shapes that are not there the rule is a guess that is good for decoding: as many programs as an H200
can hold at once, each with half of a multiprocessor's shared memory full of weights on their way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

MAX_TOKENS = 64
# Untuned shapes: with more tokens than this, cuBLAS is trusted more than a guess.
_MAX_UNTUNED_TOKENS = 16

_NUM_MULTIPROCESSORS = 132  # of an H200; what is tuned for it is not bad elsewhere
_SHARED_BYTES = 228 << 10  # of a multiprocessor
_RESERVED_BYTES = 1 << 10  # of them, for each program
_MAX_STAGES = 8
_MIN_STAGES = 4  # one is being multiplied, one may still be in use by the product before
_MAX_SPLITS = 8
_MIN_BLOCKS_OF_SPLIT = 2
_MIN_PREFETCH_INPUTS = 128


@dataclass(frozen=True, slots=True)
class SmallLinearConfig:
    """How small_linear cuts its weight, [rows, inputs].

    Attributes:
        block_rows: rows of the weight of one program, a power of two
        block_inputs: inputs that it loads at a time, a power of two
        num_splits: programs that share a tile's inputs
        num_warps: of a program
        num_stages: blocks in shared memory, those on their way and the one in use
        max_prefetch_inputs: inputs of each row that are asked for while the kernel before runs
    """

    block_rows: int
    block_inputs: int
    num_splits: int
    num_warps: int
    num_stages: int
    max_prefetch_inputs: int = 512

    def fits(self, num_rows: int, num_inputs: int) -> bool:
        """Whether there are only whole blocks, and enough of them for the splits."""
        num_blocks, rest = divmod(num_inputs, self.block_inputs)
        return num_rows % self.block_rows == rest == 0 and num_blocks >= self.num_splits

    def prefetch_inputs(self, num_inputs: int) -> int:
        """A power of two that is no more than any split has; 0 for none."""
        num_blocks = num_inputs // self.block_inputs // self.num_splits
        most = min(self.max_prefetch_inputs, num_blocks * self.block_inputs)
        return 1 << (most.bit_length() - 1) if most >= _MIN_PREFETCH_INPUTS else 0


Table = dict[tuple[int, int, int], SmallLinearConfig | None]


def num_tokens_bucket(num_tokens: int) -> int:
    """Tokens that a program computes, padding included: a power of two that tensor cores take."""
    return max(16, 1 << (num_tokens - 1).bit_length())


def choose(
    num_tokens: int, num_rows: int, num_inputs: int, table: Table
) -> SmallLinearConfig | None:
    """The configuration for a weight of [num_rows, num_inputs], None if cuBLAS is better."""
    if not 0 < num_tokens <= MAX_TOKENS:
        return None
    bucket = num_tokens_bucket(num_tokens)
    key = (num_rows, num_inputs, bucket)
    if key in table:
        return table[key]
    return _guess(bucket, num_rows, num_inputs) if bucket <= _MAX_UNTUNED_TOKENS else None


def candidates(num_tokens: int, num_rows: int, num_inputs: int) -> tuple[SmallLinearConfig, ...]:
    """Configurations worth measuring, without repetitions."""
    bucket = num_tokens_bucket(num_tokens)
    cuts = product((16, 32, 64, 128), (64, 128, 256), (1, 2, 3, 4))
    return tuple(dict.fromkeys(_configs(bucket, num_rows, num_inputs, cuts)))


@cache
def _guess(bucket: int, num_rows: int, num_inputs: int) -> SmallLinearConfig | None:
    cuts = product((64, 32, 16), (128, 64), (2,))
    return next(_configs(bucket, num_rows, num_inputs, cuts), None)


def _configs(
    bucket: int, num_rows: int, num_inputs: int, cuts: Iterator[tuple[int, int, int]]
) -> Iterator[SmallLinearConfig]:
    """Those that fit, of (block_rows, block_inputs, programs on a multiprocessor)."""
    for block_rows, block_inputs, occupancy in cuts:
        stage_bytes = 2 * block_inputs * (block_rows + bucket)
        shared_bytes = _SHARED_BYTES // occupancy - _RESERVED_BYTES
        num_tiles = num_rows // block_rows
        max_splits = min(_MAX_SPLITS, num_inputs // block_inputs // _MIN_BLOCKS_OF_SPLIT)
        num_splits = occupancy * _NUM_MULTIPROCESSORS // max(num_tiles, 1)
        config = SmallLinearConfig(
            block_rows,
            block_inputs,
            num_splits=max(1, min(num_splits, max_splits)),
            num_warps=8 if block_rows > 64 and bucket > 16 else 4,
            num_stages=min(_MAX_STAGES, shared_bytes // stage_bytes),
        )
        if config.num_stages >= _MIN_STAGES and config.fits(num_rows, num_inputs):
            yield config
