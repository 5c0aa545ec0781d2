"""Batches for the kernels of prefill attention, and what the textbook makes of them."""

from dataclasses import dataclass

import torch

from legato.kernels.attention_params import AttentionParams
from legato.kernels.attention_plan import BatchLayout
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.prefill_attention import prefill_attention
from legato.kernels.gpu.prefill_work import PrefillConfig, PrefillWork, plan_prefill
from legato.tests.kernels.gpu.device import DEVICE, TOLERANCES
from legato.tests.kernels.pools import context_of, make_layout

NUM_LAYERS, LAYER = 2, 1
SMALL = PrefillConfig(block_m=16, block_n=16, num_warps=4, num_stages=2)
UNTOUCHED = 7.0

BATCHES = [
    [(3, 3)],
    [(4, 4), (5, 5), (8, 9), (7, 20)],
    [(1, 8), (6, 6), (2, 3), (1, 1), (1, 30), (3, 11)],
    [(33, 65), (1, 40), (2, 64), (17, 17)],
]


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the pool and the heads of a test."""

    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 16
    block_size: int = 16
    has_sinks: bool = False

    def sinks(self, dtype: torch.dtype) -> torch.Tensor | None:
        """[heads] from ones that hardly weigh to ones that weigh more than many keys."""
        return torch.linspace(-3, 4, self.num_heads).to(dtype) if self.has_sinks else None


def make_inputs(
    lens: list[tuple[int, int]], shape: Shape, dtype: torch.dtype, num_blocks: int = 64
) -> tuple[BatchLayout, torch.Tensor, torch.Tensor]:
    """Layout, query and pool. The query is a part of a wider tensor, as in a model."""
    layout = make_layout(lens, shape.block_size, num_blocks)
    rows, heads = int(layout.query_lens.sum()), shape.num_heads
    generator = torch.Generator().manual_seed(rows)
    size = (num_blocks, NUM_LAYERS, 2, shape.num_kv_heads, shape.block_size, shape.head_dim)
    pool = torch.randn(size, generator=generator).to(dtype)
    wide = torch.randn((rows, heads + 2 * shape.num_kv_heads, shape.head_dim), generator=generator)
    return layout, wide.to(dtype)[:, :heads], pool


def attend(
    query: torch.Tensor,
    pool: torch.Tensor,
    layout: BatchLayout,
    params: AttentionParams,
    config: PrefillConfig = SMALL,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """[rows + 3, heads * head_dim] on the host: the batch with rows and sequences of padding."""
    rows, num_heads, head_dim = query.shape
    starts = [0, *layout.query_lens.cumsum(0).tolist(), rows, rows]
    tables = torch.cat((layout.block_tables, torch.full((2, layout.block_tables.shape[1]), 10**8)))
    batch = AttentionBatch(
        torch.tensor(starts, dtype=torch.int32, device=DEVICE),
        torch.tensor([*layout.context_lens.tolist(), 0, 0], dtype=torch.int32, device=DEVICE),
        tables.to(DEVICE, torch.int32),
    )
    padded = torch.full((rows + 3, num_heads, head_dim), float("nan"), dtype=query.dtype)
    padded[:rows] = query
    group_size = num_heads // pool.shape[3]
    work = PrefillWork.allocate(batch.max_sequences, rows + 3, group_size, config, DEVICE)
    output = torch.full((rows + 3, num_heads * head_dim), UNTOUCHED, dtype=query.dtype)
    output = output.to(DEVICE)
    plan_prefill(batch, work)
    sinks = None if sinks is None else sinks.to(DEVICE)
    on_device = (padded.to(DEVICE), pool.to(DEVICE))
    prefill_attention(*on_device, LAYER, batch, work, params, output, sinks)
    return output.cpu()


def textbook(
    query: torch.Tensor,
    pool: torch.Tensor,
    layout: BatchLayout,
    params: AttentionParams,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """What `attend` should return, float64, one sequence at a time."""
    rows, num_heads, head_dim = query.shape
    wanted = torch.full((rows + 3, num_heads, head_dim), UNTOUCHED, dtype=torch.float64)
    first = 0
    for sequence, query_len in enumerate(layout.query_lens.tolist()):
        if query_len > 1:
            keys, values = context_of(pool.float(), layout, sequence, LAYER).double()
            keys, values = (
                x.repeat_interleave(num_heads // pool.shape[3], dim=0) * scale
                for x, scale in ((keys, params.key_scale), (values, params.value_scale))
            )
            part = query[first : first + query_len].double().transpose(0, 1)
            scores = part @ keys.transpose(1, 2) * params.scale
            if params.softcap is not None:
                scores = params.softcap * torch.tanh(scores / params.softcap)
            distance = torch.arange(keys.shape[1] - query_len, keys.shape[1])[:, None]
            distance = distance - torch.arange(keys.shape[1])
            is_visible = (distance >= 0) & (distance < (params.window or keys.shape[1]))
            scores = scores.masked_fill(~is_visible, float("-inf"))
            if sinks is not None:
                column = sinks.double()[:, None, None].expand(-1, query_len, 1)
                scores = torch.cat((scores, column), -1)
            weights = scores.softmax(-1)[..., : keys.shape[1]]
            wanted[first : first + query_len] = (weights @ values).transpose(0, 1)
        first += query_len
    return wanted.view(rows + 3, -1)


def check(
    lens: list[tuple[int, int]],
    shape: Shape,
    dtype: torch.dtype = torch.float32,
    config: PrefillConfig = SMALL,
    params: AttentionParams | None = None,
    num_blocks: int = 64,
) -> None:
    """That a batch of these (query_len, context_len) gives what the textbook says."""
    params = params or AttentionParams(shape.head_dim**-0.5)
    layout, query, pool = make_inputs(lens, shape, dtype, num_blocks)
    sinks = shape.sinks(dtype)
    actual = attend(query, pool, layout, params, config, sinks).double()
    wanted = textbook(query, pool, layout, params, sinks)
    tolerance = TOLERANCES[dtype]
    torch.testing.assert_close(actual, wanted, atol=tolerance, rtol=tolerance)


def fill_unused_slots(pool: torch.Tensor, layout: BatchLayout, value: float) -> None:
    """Writes `value` wherever no sequence has a token."""
    is_used = torch.zeros(pool.shape[0], pool.shape[4], dtype=torch.bool)
    for table, context_len in zip(layout.block_tables, layout.context_lens.tolist(), strict=True):
        tokens = torch.arange(context_len)
        is_used[table[tokens // pool.shape[4]], tokens % pool.shape[4]] = True
    pool.masked_fill_(~is_used[:, None, None, None, :, None], value)
