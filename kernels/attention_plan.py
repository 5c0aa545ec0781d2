"""Where a step reads and writes the block pool: indices computed once, used by every layer.

The pool is `[block, layer, k/v, kv_head, token, head_dim]`. Two flat views of it turn all
gathering and scattering into one indexed copy each, with no loop over tokens, heads or sequences:

    as rows of [token x head_dim]   a block's keys of one head are one row    -> reads
    as rows of [head_dim]           a token's key of one head is one row      -> writes

Row numbers are those of layer 0. Another layer's lie a fixed distance further, so a layer is
chosen by dropping the rows before it from the view.

Sequences are padded to a common shape for the computation. Runs of adjacent sequences of similar
shape form a group, so that one long sequence does not blow up its neighbours: callers order
sequences by `group_key` to get few groups. Any order is correct.

The module knows nothing of models, and does not check that blocks are inside the pool.
"""

from dataclasses import dataclass
from itertools import groupby

import torch

# Blocks up to which sequences share a group whatever their lengths: padding is cheap there.
SMALL_CONTEXT_BLOCKS = 64


@dataclass(frozen=True, slots=True, eq=False)
class BatchLayout:
    """A step's sequences, in token order; int64 on the host.

    Attributes:
        query_lens: [sequences] tokens to compute, at least 1
        context_lens: [sequences] tokens after the step, those already in the pool included
        block_tables: [sequences, blocks]; entries beyond a sequence's context are not read
    """

    query_lens: torch.Tensor
    context_lens: torch.Tensor
    block_tables: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class AttentionGroup:
    """Adjacent sequences, padded to `max_query_len` queries and `max_blocks` blocks.

    Attributes:
        first_token, num_tokens: the group's rows among the step's tokens
        kv_rows: [2 * sequences * kv_heads * max_blocks] rows of the pool's block view
        unused_rows: rows of the gathered [2, sequences, kv_heads, tokens] that hold no token yet,
            whose bytes may be anything, non-finite values included
        mask: [sequences, 1, max_query_len, tokens] 0 where a query sees a key, else -inf
        padded_rows: [sequences * max_query_len] the query of each padded row; None: no padding
        token_rows: [num_tokens] the padded row of each query; None: no padding
    """

    first_token: int
    num_tokens: int
    num_sequences: int
    max_query_len: int
    kv_rows: torch.Tensor
    unused_rows: torch.Tensor
    mask: torch.Tensor
    padded_rows: torch.Tensor | None
    token_rows: torch.Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class AttentionPlan:
    """Everything that a step's layers need to know of positions and blocks.

    Attributes:
        positions: [tokens] position of each token in its sequence
        write_rows: [tokens * 2 * kv_heads] rows of the pool's token view, keys before values
    """

    positions: torch.Tensor
    write_rows: torch.Tensor
    groups: tuple[AttentionGroup, ...]


def group_key(query_len: int, context_len: int, block_size: int) -> tuple[int, int]:
    """Equal keys are padded to each other: to at most twice the queries and 4 times the keys."""
    num_blocks = -(-context_len // block_size)
    context_class = (max(num_blocks, SMALL_CONTEXT_BLOCKS) - 1).bit_length() // 2
    return (query_len - 1).bit_length(), context_class


def build_attention_plan(layout: BatchLayout, kv_pool: torch.Tensor) -> AttentionPlan:
    """Computes the indices on the host and puts them on the pool's device."""
    device = kv_pool.device
    num_layers, _, num_kv_heads, block_size = kv_pool.shape[1:5]
    query_lens, starts = layout.query_lens, layout.context_lens - layout.query_lens
    first_tokens = query_lens.cumsum(0) - query_lens
    sequence_of = torch.repeat_interleave(query_lens)  # [tokens]
    positions = torch.arange(sequence_of.shape[0]) + (starts - first_tokens)[sequence_of]

    blocks = layout.block_tables[sequence_of, positions // block_size]
    heads = torch.arange(2 * num_kv_heads)
    pool_heads = (blocks * num_layers * 2 * num_kv_heads)[:, None] + heads
    write_rows = pool_heads * block_size + (positions % block_size)[:, None]
    return AttentionPlan(
        positions=positions.to(device),
        write_rows=write_rows.flatten().to(device),
        groups=tuple(
            _build_group(layout, first, last, int(first_tokens[first]), kv_pool)
            for first, last in _runs_of_one_key(layout, block_size)
        ),
    )


def _runs_of_one_key(layout: BatchLayout, block_size: int) -> list[tuple[int, int]]:
    """Ranges [first, last) of adjacent sequences that are padded to each other."""
    lens = zip(layout.query_lens.tolist(), layout.context_lens.tolist(), strict=True)
    runs, first = [], 0
    for _, run in groupby(group_key(*pair, block_size) for pair in lens):
        last = first + len(list(run))
        runs.append((first, last))
        first = last
    return runs


def _build_group(
    layout: BatchLayout, first: int, last: int, first_token: int, kv_pool: torch.Tensor
) -> AttentionGroup:
    device = kv_pool.device
    num_layers, _, num_kv_heads, block_size = kv_pool.shape[1:5]
    query_lens, context_lens = layout.query_lens[first:last], layout.context_lens[first:last]
    num_tokens, max_query_len = int(query_lens.sum()), int(query_lens.max())
    tables = _padded_tables(context_lens, layout.block_tables[first:last], block_size)

    heads = torch.arange(2 * num_kv_heads).view(2, 1, num_kv_heads, 1)
    kv_rows = (tables * num_layers * 2 * num_kv_heads)[None, :, None, :] + heads
    queries = torch.arange(max_query_len)
    is_query = queries < query_lens[:, None]  # [sequences, max_query_len]
    # Padding repeats a sequence's last query: every row sees at least one key and stays finite.
    index_in_sequence = queries.minimum(query_lens[:, None] - 1)
    positions = (context_lens - query_lens)[:, None] + index_in_sequence
    keys = torch.arange(tables.shape[1] * block_size)
    mask = torch.zeros((*positions.shape, keys.shape[0]), dtype=kv_pool.dtype)
    mask.masked_fill_(keys > positions[:, :, None], float("-inf"))
    is_padded = num_tokens < is_query.numel()
    padded_rows = (query_lens.cumsum(0) - query_lens)[:, None] + index_in_sequence
    return AttentionGroup(
        first_token=first_token,
        num_tokens=num_tokens,
        num_sequences=last - first,
        max_query_len=max_query_len,
        kv_rows=kv_rows.flatten().to(device),
        unused_rows=_unused_rows(context_lens, num_kv_heads, keys.shape[0], block_size).to(device),
        mask=mask[:, None].to(device),
        padded_rows=padded_rows.flatten().to(device) if is_padded else None,
        token_rows=is_query.flatten().nonzero().flatten().to(device) if is_padded else None,
    )


def _padded_tables(
    context_lens: torch.Tensor, block_tables: torch.Tensor, block_size: int
) -> torch.Tensor:
    """Block tables cut to the longest sequence, [sequences, max_blocks].

    Padding must point at finite values. Where there is any, the longest sequence has two blocks
    or more, so its first block is full.
    """
    num_blocks = (context_lens + block_size - 1) // block_size
    max_blocks = int(num_blocks.max())
    is_used = torch.arange(max_blocks) < num_blocks[:, None]
    full_block = block_tables[num_blocks.argmax(), 0]
    return torch.where(is_used, block_tables[:, :max_blocks], full_block)


def _unused_rows(
    context_lens: torch.Tensor, num_kv_heads: int, num_keys: int, block_size: int
) -> torch.Tensor:
    """Rows of [2, sequences, kv_heads, num_keys] behind each sequence's end in its last block."""
    num_sequences = context_lens.shape[0]
    unused = context_lens[:, None] + torch.arange(block_size)  # [sequences, block_size]
    is_in_last_block = (
        unused < ((context_lens + block_size - 1) // block_size * block_size)[:, None]
    )
    sequence_rows = torch.arange(num_sequences)[:, None] * num_kv_heads * num_keys
    rows = (sequence_rows + unused)[is_in_last_block]  # of keys, head 0
    heads = torch.arange(num_kv_heads)[:, None] * num_keys
    keys_or_values = torch.arange(2)[:, None, None] * num_sequences * num_kv_heads * num_keys
    return (rows + heads + keys_or_values).flatten()
