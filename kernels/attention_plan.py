"""Where a step reads and writes the block pool, for the plain-torch kernels: computed once a step.

The pool is `[block, layer, k/v, kv_head, token, head_dim]`. A flat view of it as rows of
[token x head_dim], in which a block's keys of one head are one row, turns all gathering into one
indexed copy, with no loop over tokens, heads or sequences. Row numbers are those of layer 0.
Another layer's lie a fixed distance further, so a layer is chosen by dropping the rows before it
from the view.

Sequences are padded to a common shape for the computation. Those of similar shape form a group,
so that one long sequence does not blow up the others.

The module knows nothing of models, and does not check that blocks are inside the pool.
"""

from collections.abc import Mapping
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
    """Sequences that are padded to `max_query_len` queries and a common number of blocks.

    Attributes:
        kv_rows: [k/v * sequences * kv_heads * max_blocks] rows of the pool's block view
        unused_rows: rows of the gathered [k/v, sequences, kv_heads, tokens] that hold no token
            yet, whose bytes may be anything, non-finite values included
        masks: for each window, [sequences, 1, max_query_len, tokens]: 0 where a query sees a key,
            else -inf
        query_rows: [sequences * max_query_len] the step's row of each padded row; None: the
            group is the whole step as it stands
        rows: [tokens] the step's row of each query; None likewise
        padded_rows: [tokens] the padded row of each query; None: no padding
    """

    num_sequences: int
    max_query_len: int
    kv_rows: torch.Tensor
    unused_rows: torch.Tensor
    masks: Mapping[int | None, torch.Tensor]
    query_rows: torch.Tensor | None
    rows: torch.Tensor | None
    padded_rows: torch.Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class AttentionPlan:
    """Everything that a step's layers need to know of positions and blocks.

    Attributes:
        positions: [tokens] position of each token in its sequence
        slots: [tokens] where its keys and values go, block * block_size + token
    """

    positions: torch.Tensor
    slots: torch.Tensor
    groups: tuple[AttentionGroup, ...]


def group_key(query_len: int, context_len: int, block_size: int) -> tuple[int, int]:
    """Equal keys are padded to each other: to at most twice the queries and 4 times the keys."""
    num_blocks = -(-context_len // block_size)
    context_class = (max(num_blocks, SMALL_CONTEXT_BLOCKS) - 1).bit_length() // 2
    return (query_len - 1).bit_length(), context_class


def build_attention_plan(
    layout: BatchLayout, kv_pool: torch.Tensor, windows: tuple[int | None, ...] = (None,)
) -> AttentionPlan:
    """Computes the indices on the host and puts them on the pool's device.

    Args:
        windows: of the model's layers, as in AttentionParams
    """
    device, block_size = kv_pool.device, kv_pool.shape[4]
    query_lens, starts = layout.query_lens, layout.context_lens - layout.query_lens
    first_rows = query_lens.cumsum(0) - query_lens
    sequence_of = torch.repeat_interleave(query_lens)  # [tokens]
    positions = torch.arange(sequence_of.shape[0]) + (starts - first_rows)[sequence_of]
    blocks = layout.block_tables[sequence_of, positions // block_size]
    groups = _groups_of_one_key(layout, block_size)
    return AttentionPlan(
        positions=positions.to(device),
        slots=(blocks * block_size + positions % block_size).to(device),
        groups=tuple(
            _GroupBuilder(layout, first_rows, members, kv_pool).build(windows, len(groups) == 1)
            for members in groups
        ),
    )


def _groups_of_one_key(layout: BatchLayout, block_size: int) -> list[torch.Tensor]:
    """The sequences of each group, as indices in token order."""
    lens = zip(layout.query_lens.tolist(), layout.context_lens.tolist(), strict=True)
    keys = [group_key(*pair, block_size) for pair in lens]
    ordered = sorted(range(len(keys)), key=keys.__getitem__)
    return [torch.tensor(list(run)) for _, run in groupby(ordered, key=keys.__getitem__)]


class _GroupBuilder:
    """Computes one group's indices from the sequences that are its `members`."""

    def __init__(
        self,
        layout: BatchLayout,
        first_rows: torch.Tensor,
        members: torch.Tensor,
        kv_pool: torch.Tensor,
    ) -> None:
        self._kv_pool = kv_pool
        self._query_lens = layout.query_lens[members]
        self._context_lens = layout.context_lens[members]
        self._first_rows = first_rows[members]
        self._tables = _padded_tables(
            self._context_lens, layout.block_tables[members], kv_pool.shape[4]
        )

    def build(self, windows: tuple[int | None, ...], is_whole_step: bool) -> AttentionGroup:
        device = self._kv_pool.device
        num_layers, num_parts, num_kv_heads, block_size = self._kv_pool.shape[1:5]
        max_query_len = int(self._query_lens.max())
        queries = torch.arange(max_query_len)
        is_query = queries < self._query_lens[:, None]  # [sequences, max_query_len]
        # Padding repeats a sequence's last query: every row sees a key at least and stays finite.
        index_in_sequence = queries.minimum(self._query_lens[:, None] - 1)
        query_rows = (self._first_rows[:, None] + index_in_sequence).flatten()
        positions = (self._context_lens - self._query_lens)[:, None] + index_in_sequence

        heads = torch.arange(num_parts * num_kv_heads).view(num_parts, 1, num_kv_heads, 1)
        block_heads = num_layers * num_parts * num_kv_heads
        kv_rows = (self._tables * block_heads)[None, :, None, :] + heads
        num_keys = self._tables.shape[1] * block_size
        is_padded = not bool(is_query.all())
        is_whole = is_whole_step and not is_padded
        padded_rows = is_query.flatten().nonzero().flatten()
        return AttentionGroup(
            num_sequences=self._query_lens.shape[0],
            max_query_len=max_query_len,
            kv_rows=kv_rows.flatten().to(device),
            unused_rows=_unused_rows(self._context_lens, self._kv_pool.shape[2:5], num_keys).to(
                device
            ),
            masks={window: self._mask(positions, num_keys, window) for window in windows},
            query_rows=None if is_whole else query_rows.to(device),
            rows=None if is_whole else query_rows[padded_rows].to(device),
            padded_rows=padded_rows.to(device) if is_padded else None,
        )

    def _mask(self, positions: torch.Tensor, num_keys: int, window: int | None) -> torch.Tensor:
        keys = torch.arange(num_keys)
        is_narrow = self._kv_pool.dtype.itemsize == 1  # stored in 8 bits, computed in more
        dtype = torch.float32 if is_narrow else self._kv_pool.dtype
        mask = torch.zeros((*positions.shape, num_keys), dtype=dtype)
        mask.masked_fill_(keys > positions[:, :, None], float("-inf"))
        if window is not None:
            mask.masked_fill_(keys <= positions[:, :, None] - window, float("-inf"))
        return mask[:, None].to(self._kv_pool.device)


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


def _unused_rows(context_lens: torch.Tensor, shape: tuple[int, ...], num_keys: int) -> torch.Tensor:
    """Rows of [k/v, sequences, kv_heads, num_keys] behind each sequence's end in its last block.

    Args:
        shape: the pool's k/v, kv_head and token
    """
    num_parts, num_kv_heads, block_size = shape
    num_sequences = context_lens.shape[0]
    unused = context_lens[:, None] + torch.arange(block_size)  # [sequences, block_size]
    is_in_last_block = (
        unused < ((context_lens + block_size - 1) // block_size * block_size)[:, None]
    )
    sequence_rows = torch.arange(num_sequences)[:, None] * num_kv_heads * num_keys
    rows = (sequence_rows + unused)[is_in_last_block]  # of keys, head 0
    heads = torch.arange(num_kv_heads)[:, None] * num_keys
    keys_or_values = (
        torch.arange(num_parts)[:, None, None] * num_sequences * num_kv_heads * num_keys
    )
    return (rows + heads + keys_or_values).flatten()
