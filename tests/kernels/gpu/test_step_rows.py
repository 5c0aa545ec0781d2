import pytest
import torch

from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.step_rows import plan_rows
from legato.tests.kernels.gpu.device import DEVICE

UNREAD = 1 << 30  # what a block table may hold beyond a sequence's context


def make_batch(lens: list[tuple[int, int]], num_padding: int, block_size: int) -> AttentionBatch:
    """Sequences of (query_len, context_len) with shuffled blocks, and padding sequences."""
    generator = torch.Generator().manual_seed(len(lens))
    free = torch.randperm(20_000, generator=generator).tolist()
    width = max((-(-context // block_size) for _, context in lens), default=1)
    tables = torch.full((len(lens) + num_padding, width), UNREAD, dtype=torch.int32)
    for table, (_, context) in zip(tables, lens, strict=False):
        for index in range(-(-context // block_size)):
            table[index] = free.pop()
    query_lens = torch.tensor([0, *(query for query, _ in lens), *[0] * num_padding])
    contexts = [*(context for _, context in lens), *[0] * num_padding]
    return AttentionBatch(
        query_starts=query_lens.cumsum(0).int().to(DEVICE),
        context_lens=torch.tensor(contexts, dtype=torch.int32, device=DEVICE),
        block_tables=tables.to(DEVICE),
    )


def expected(batch: AttentionBatch, block_size: int, num_rows: int) -> list[tuple[int, int]]:
    """(position, slot) of each row, one after the other."""
    starts, tables = batch.query_starts.tolist(), batch.block_tables.tolist()
    rows = []
    for sequence, context in enumerate(batch.context_lens.tolist()):
        query_len = starts[sequence + 1] - starts[sequence]
        for position in range(context - query_len, context):
            block = tables[sequence][position // block_size]
            rows.append((position, block * block_size + position % block_size))
    return rows + [(0, -1)] * (num_rows - len(rows))


def planned(batch: AttentionBatch, block_size: int, num_rows: int) -> list[tuple[int, int]]:
    positions = torch.full((num_rows,), -7, dtype=torch.int32, device=DEVICE)
    slots = torch.full((num_rows,), -7, dtype=torch.int64, device=DEVICE)
    plan_rows(batch, block_size, positions, slots)
    return list(zip(positions.tolist(), slots.tolist(), strict=True))


@pytest.mark.parametrize("block_size", [4, 16, 64])
@pytest.mark.parametrize(
    ("lens", "num_padding", "num_rows"),
    [
        ([(1, 1)], 0, 1),
        ([(1, 17), (1, 1), (1, 64), (1, 65)], 4, 8),
        ([(100, 100), (1, 30), (7, 200)], 0, 108),
        ([(1, 5), (40, 90), (3, 3)], 2, 64),
        ([(1, index + 1) for index in range(300)], 20, 320),
        ([], 4, 4),
    ],
)
def test_rows_go_on_behind_the_cached_tokens_and_padding_has_no_slot(
    lens: list[tuple[int, int]], num_padding: int, num_rows: int, block_size: int
) -> None:
    batch = make_batch(lens, num_padding, block_size)
    assert planned(batch, block_size, num_rows) == expected(batch, block_size, num_rows)


def test_slots_beyond_32_bits_are_exact() -> None:
    batch = make_batch([(2, 2)], 0, 64)
    batch.block_tables.fill_(1 << 28)
    assert planned(batch, 64, 2) == [(0, 1 << 34), (1, (1 << 34) + 1)]
