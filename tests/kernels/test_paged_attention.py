import pytest
import torch

from legato.kernels.attention_plan import BatchLayout, build_attention_plan
from legato.kernels.paged_attention import paged_attention
from legato.tests.kernels.pools import HEAD_DIM, make_layout, make_pool, textbook_attention

BLOCK_SIZE = 4
NUM_BLOCKS = 80

BATCHES = [
    [(1, 1)],
    [(1, 3), (1, 4), (1, 5), (1, 17)],
    [(3, 3)],
    [(4, 4), (5, 5), (8, 9), (7, 20)],
    [(1, 8), (6, 6), (2, 3), (1, 1), (1, 30), (3, 11)],
]


def attend(
    query: torch.Tensor, pool: torch.Tensor, layer: int, layout: BatchLayout
) -> torch.Tensor:
    return paged_attention(query, pool, layer, build_attention_plan(layout, pool))


@pytest.mark.parametrize("lens", BATCHES)
@pytest.mark.parametrize("num_heads", [2, 4, 6])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_every_batch_equals_the_textbook(
    lens: list[tuple[int, int]], num_heads: int, dtype: torch.dtype, tolerance: float
) -> None:
    layout, pool = make_layout(lens, BLOCK_SIZE, NUM_BLOCKS), make_pool(NUM_BLOCKS, 4, dtype)
    query = torch.randn(int(layout.query_lens.sum()), num_heads, HEAD_DIM).to(dtype)
    actual = attend(query, pool, 2, layout)
    wanted = textbook_attention(query, pool, 2, layout)
    torch.testing.assert_close(actual.double(), wanted, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("lens", BATCHES)
def test_what_lies_outside_the_contexts_has_no_influence(
    lens: list[tuple[int, int]], garbage: float
) -> None:
    layout, pool = (
        make_layout(lens, BLOCK_SIZE, NUM_BLOCKS),
        make_pool(NUM_BLOCKS, 4, torch.float32),
    )
    query = torch.randn(int(layout.query_lens.sum()), 4, HEAD_DIM)
    wanted = attend(query, pool, 0, layout)
    is_used = torch.zeros(NUM_BLOCKS, BLOCK_SIZE, dtype=torch.bool)
    for table, context_len in zip(layout.block_tables, layout.context_lens.tolist(), strict=True):
        for token in range(context_len):
            is_used[table[token // BLOCK_SIZE], token % BLOCK_SIZE] = True
    pool.masked_fill_(~is_used[:, None, None, None, :, None], garbage)
    assert torch.equal(attend(query, pool, 0, layout), wanted)


def test_a_long_context_among_short_ones_is_exact() -> None:
    pool = make_pool(700, 2, torch.float32)
    width = 600
    tables = torch.arange(width).repeat(3, 1)
    layout = BatchLayout(torch.tensor([1, 1, 1]), torch.tensor([5, 1200, 6]), tables)
    query = torch.randn(3, 4, HEAD_DIM)
    plan = build_attention_plan(layout, pool)
    assert len(plan.groups) == 3
    torch.testing.assert_close(
        paged_attention(query, pool, 1, plan).double(),
        textbook_attention(query, pool, 1, layout),
        atol=1e-5,
        rtol=1e-5,
    )
