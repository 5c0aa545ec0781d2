"""Random block pools and batches, and attention as the textbook writes it."""

import torch

from legato.kernels.attention_params import AttentionParams
from legato.kernels.attention_plan import BatchLayout

NUM_LAYERS, NUM_KV_HEADS, HEAD_DIM = 3, 2, 8


def make_layout(lens: list[tuple[int, int]], block_size: int, num_blocks: int) -> BatchLayout:
    """A batch of (query_len, context_len) whose blocks are shuffled all over the pool."""
    generator = torch.Generator().manual_seed(len(lens))
    free = torch.randperm(num_blocks, generator=generator).tolist()
    width = max(-(-context // block_size) for _, context in lens)
    tables = [[free.pop() for _ in range(width)] for _ in lens]
    query_lens, context_lens = torch.tensor(lens).unbind(1)
    return BatchLayout(query_lens, context_lens, torch.tensor(tables))


def make_pool(num_blocks: int, block_size: int, dtype: torch.dtype) -> torch.Tensor:
    shape = (num_blocks, NUM_LAYERS, 2, NUM_KV_HEADS, block_size, HEAD_DIM)
    return torch.randn(shape).to(dtype)


def context_of(pool: torch.Tensor, layout: BatchLayout, sequence: int, layer: int) -> torch.Tensor:
    """[k/v, kv_head, context_len, head_dim] of one sequence, token by token."""
    block_size = pool.shape[4]
    tokens = [
        pool[layout.block_tables[sequence, token // block_size], layer, :, :, token % block_size]
        for token in range(int(layout.context_lens[sequence]))
    ]
    return torch.stack(tokens, dim=2)


def textbook_attention(
    query: torch.Tensor,
    pool: torch.Tensor,
    layer: int,
    layout: BatchLayout,
    params: AttentionParams | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """[tokens, heads * head_dim] float64, one sequence and head at a time."""
    params = params or AttentionParams(scale=query.shape[2] ** -0.5)
    rows, first = [], 0
    for sequence, (query_len, context_len) in enumerate(
        zip(layout.query_lens.tolist(), layout.context_lens.tolist(), strict=True)
    ):
        keys, values = context_of(pool, layout, sequence, layer).double()
        for index in range(query_len):
            visible = context_len - query_len + index + 1
            seen = slice(max(0, visible - (params.window or visible)), visible)
            for head, vector in enumerate(query[first + index].double()):
                kv_head = head * NUM_KV_HEADS // query.shape[1]
                scores = keys[kv_head, seen] @ vector * params.scale
                if params.softcap is not None:
                    scores = params.softcap * (scores / params.softcap).tanh()
                if sinks is not None:
                    scores = torch.cat((scores, sinks[head : head + 1].double()))
                rows.append(scores.softmax(0)[: visible - seen.start] @ values[kv_head, seen])
        first += query_len
    return torch.stack(rows).view(first, -1)
