"""Random latents in block pools, queries that look at them, and what the textbook makes of both."""

from dataclasses import dataclass

import torch

from legato.kernels.attention_plan import BatchLayout
from legato.tests.kernels.pools import make_layout

NUM_LAYERS, LAYER = 3, 1
NUM_BLOCKS = 96
SCALE = 0.21

BATCHES = [
    [(1, 1)],
    [(3, 3)],
    [(1, 8), (6, 6), (2, 3), (1, 1), (1, 40), (3, 11)],
    [(33, 65), (1, 64), (2, 64), (17, 17), (1, 17)],
]


@dataclass(frozen=True, slots=True)
class Shape:
    num_heads: int = 4
    latent_dim: int = 32
    rope_dim: int = 16
    block_size: int = 16


@dataclass(frozen=True, slots=True, eq=False)
class LatentBatch:
    """Sequences of (query_len, context_len); slots without a token hold NaN."""

    layout: BatchLayout
    query: torch.Tensor  # [rows, heads, latent_dim + rope_dim]
    pool: torch.Tensor

    @staticmethod
    def make(lens: list[tuple[int, int]], shape: Shape, dtype: torch.dtype) -> "LatentBatch":
        layout = make_layout(lens, shape.block_size, NUM_BLOCKS)
        generator = torch.Generator().manual_seed(len(lens))
        dim, rows = shape.latent_dim + shape.rope_dim, int(layout.query_lens.sum())
        query = torch.randn((rows, shape.num_heads, dim), generator=generator).to(dtype)
        pool_shape = (NUM_BLOCKS, NUM_LAYERS, 1, 1, shape.block_size, dim)
        pool = torch.full(pool_shape, float("nan")).to(dtype)
        for table, context_len in zip(
            layout.block_tables, layout.context_lens.tolist(), strict=True
        ):
            tokens = torch.arange(context_len)
            blocks, offsets = table[tokens // shape.block_size], tokens % shape.block_size
            latents = torch.randn((context_len, NUM_LAYERS, 1, 1, dim), generator=generator)
            pool[blocks, :, :, :, offsets] = latents.to(dtype)
        return LatentBatch(layout, query, pool)

    def textbook(self, value_dim: int) -> torch.Tensor:
        """[rows, heads, value_dim] float64, one query at a time."""
        rows: list[torch.Tensor] = []
        block_size = self.pool.shape[4]
        lens = zip(self.layout.query_lens.tolist(), self.layout.context_lens.tolist(), strict=True)
        for sequence, (query_len, context_len) in enumerate(lens):
            table = self.layout.block_tables[sequence]
            blocks = table[: -(-context_len // block_size)]
            keys = self.pool[blocks, LAYER, 0, 0].flatten(0, 1)[:context_len].double()
            for index in range(query_len):
                seen = keys[: context_len - query_len + index + 1]
                weights = (self.query[len(rows)].double() @ seen.T * SCALE).softmax(-1)
                rows.append(weights @ seen[:, :value_dim])
        return torch.stack(rows)
