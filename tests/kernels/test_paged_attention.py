import pytest
import torch

from legato.kernels.attention_params import AttentionParams
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


PLAIN = AttentionParams(scale=HEAD_DIM**-0.5)
PARAMS = [
    PLAIN,
    AttentionParams(scale=0.5, window=3),
    AttentionParams(scale=0.2, softcap=1.5),
    AttentionParams(scale=0.2, window=6, softcap=1.5),
]


def attend(
    query: torch.Tensor,
    pool: torch.Tensor,
    layer: int,
    layout: BatchLayout,
    params: AttentionParams = PLAIN,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    plan = build_attention_plan(layout, pool, (None, params.window))
    return paged_attention(query, pool, layer, plan, params, sinks)


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


@pytest.mark.parametrize("lens", BATCHES)
@pytest.mark.parametrize("params", PARAMS)
def test_windows_and_softcaps_equal_the_textbook(
    lens: list[tuple[int, int]], params: AttentionParams
) -> None:
    layout, pool = (
        make_layout(lens, BLOCK_SIZE, NUM_BLOCKS),
        make_pool(NUM_BLOCKS, 4, torch.float32),
    )
    query = torch.randn(int(layout.query_lens.sum()), 4, HEAD_DIM)
    actual = attend(query, pool, 1, layout, params).double()
    wanted = textbook_attention(query, pool, 1, layout, params)
    torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lens", BATCHES)
@pytest.mark.parametrize("params", PARAMS)
def test_sinks_take_their_share(lens: list[tuple[int, int]], params: AttentionParams) -> None:
    layout, pool = (
        make_layout(lens, BLOCK_SIZE, NUM_BLOCKS),
        make_pool(NUM_BLOCKS, 4, torch.float32),
    )
    query = torch.randn(int(layout.query_lens.sum()), 4, HEAD_DIM)
    sinks = torch.tensor([-2.0, 0.0, 1.0, 3.0])
    actual = attend(query, pool, 1, layout, params, sinks).double()
    wanted = textbook_attention(query, pool, 1, layout, params, sinks)
    torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-5)


def test_keys_and_values_of_eight_bits_are_scaled_back() -> None:
    layout = make_layout([(1, 9), (4, 6)], BLOCK_SIZE, NUM_BLOCKS)
    stored = make_pool(NUM_BLOCKS, BLOCK_SIZE, torch.float8_e4m3fn)
    query = torch.randn(5, 4, HEAD_DIM)
    params = AttentionParams(scale=0.3, key_scale=0.5, value_scale=2.0)
    factors = torch.tensor([0.5, 2.0]).view(1, 1, 2, 1, 1, 1)
    wanted = attend(query, stored.float() * factors, 1, layout, AttentionParams(scale=0.3))
    torch.testing.assert_close(attend(query, stored, 1, layout, params), wanted)


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
    assert len(plan.groups) == 2
    torch.testing.assert_close(
        paged_attention(query, pool, 1, plan, PLAIN).double(),
        textbook_attention(query, pool, 1, layout),
        atol=1e-5,
        rtol=1e-5,
    )
