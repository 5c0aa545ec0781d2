"""How latent attention is cut for the GPU: pure functions of a model's shape.

The heads of a query share all keys. Some of them are the rows of a tile; where there are more
heads, several tiles read the same keys:

    decode     16 heads    | head 0 .. 15 |                            one group
              128 heads    | 0 .. 31 |  | 32 .. 63 |  | 64 .. 95 | ...   four
    prefill    16 heads    | query 0: head 0 .. 15 | query 1 | query 2 | query 3 |
"""

from dataclasses import dataclass

import torch
import triton

from legato.kernels.gpu.decode_work import DecodeConfig
from legato.kernels.gpu.prefill_work import PrefillConfig

_MIN_DIM = 16  # of a matrix product
_MAX_GROUP = 32  # sums of more leave too few registers for merging
# Of partial results, that are in registers at once while they are merged.
_MERGED_ELEMENTS = 8192
_MERGED_DIMS = 128
_MERGED_LSES = 512


@dataclass(frozen=True, slots=True)
class LatentShape:
    """What a variant of the kernels is compiled for.

    Attributes:
        group: heads of a tile, for each query
        num_groups: that a query's heads are divided into
        rows: of a tile, a power of two
        latent_dim, rope_dim: of a key; the former is the value too
        block_size, tile: tokens; powers of two
    """

    group: int
    num_groups: int
    rows: int
    latent_dim: int
    rope_dim: int
    block_size: int
    tile: int

    @property
    def head_dim(self) -> int:
        """Of the output."""
        return self.latent_dim

    @property
    def stored_dim(self) -> int:
        return self.latent_dim + self.rope_dim

    @property
    def layer_elements(self) -> int:
        """Of a block, that belong to one layer."""
        return self.block_size * self.stored_dim

    @property
    def dims(self) -> int:
        """The output's dimensions, padded to a power of two."""
        return max(_MIN_DIM, int(triton.next_power_of_2(self.latent_dim)))

    @property
    def rope_dims(self) -> int:
        return max(_MIN_DIM, int(triton.next_power_of_2(self.rope_dim)))

    @property
    def merged_rows(self) -> int:
        return int(triton.next_power_of_2(self.group))

    @property
    def merged_dims(self) -> int:
        """Of an output, that are merged at once."""
        return min(self.dims, _MERGED_DIMS)

    @property
    def merged_parts(self) -> int:
        """Parts that are merged at once."""
        return max(1, _MERGED_ELEMENTS // (self.merged_rows * self.merged_dims))

    @property
    def merged_lses(self) -> int:
        """Parts whose log-sum-exps are summed up at once."""
        return max(2, _MERGED_LSES // self.merged_rows)


def heads_of_group(num_heads: int) -> int:
    """Heads that are in one tile: as many as possible, in groups of the same size."""
    most = min(num_heads, _MAX_GROUP)
    return next(size for size in range(most, 0, -1) if num_heads % size == 0)


def rows_of_group(group: int) -> int:
    """The group's heads, padded to what matrix products need."""
    return max(_MIN_DIM, int(triton.next_power_of_2(group)))


def decode_config(group: int, kv_dtype: torch.dtype) -> DecodeConfig:
    """A tile of 32 tokens takes 36 KB with 16 bits."""
    if kv_dtype.itemsize == 4:  # no tensor cores: registers are what is short
        return DecodeConfig(16, num_warps=8, num_stages=1, programs_per_multiprocessor=1)
    return decode_candidates(group)[0]


def decode_candidates(group: int) -> list[DecodeConfig]:
    """Configurations worth a measurement, in 16 bits; the most promising come first."""
    layouts = [(64, 8, 2, 1), (32, 8, 3, 1), (32, 8, 4, 1)]
    if group > _MAX_GROUP:  # of the specialized kernel, which has its own layout
        layouts = layouts[:1]
    if group <= _MIN_DIM:
        layouts = [(32, 4, 3, 2), (32, 4, 2, 2), (64, 8, 2, 1), (64, 8, 3, 1)]
    return [DecodeConfig(*layout) for layout in layouts]


def prefill_config(group: int, kv_dtype: torch.dtype) -> PrefillConfig:
    """For steps of any size."""
    if kv_dtype.itemsize == 4:
        return PrefillConfig(rows_of_group(group), 16, num_warps=8, num_stages=1)
    return prefill_candidates()[0]


def prefill_candidates() -> list[PrefillConfig]:
    """Configurations worth a measurement, in 16 bits; the most promising come first."""
    return [PrefillConfig(64, 32, 8, 3), PrefillConfig(64, 32, 8, 2), PrefillConfig(64, 16, 8, 4)]
