from dataclasses import replace

import pytest
import torch

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.prefill_attention import choose_config
from legato.kernels.gpu.prefill_work import PrefillWork
from legato.tests.benchmarks.kernel_cases.prefill_attention import candidates
from legato.tests.kernels.gpu.device import DTYPES
from legato.tests.kernels.gpu.prefill_batches import (
    BATCHES,
    SMALL,
    Shape,
    attend,
    check,
    fill_unused_slots,
    make_inputs,
    textbook,
)


@pytest.mark.parametrize("lens", BATCHES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_batch_equals_the_textbook_and_other_rows_are_left_alone(
    lens: list[tuple[int, int]], dtype: torch.dtype
) -> None:
    check(lens, Shape(), dtype)


@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(2, 2), (3, 1), (8, 1), (14, 2)])
def test_any_number_of_query_heads_shares_a_key_head(num_heads: int, num_kv_heads: int) -> None:
    check(BATCHES[1], Shape(num_heads, num_kv_heads))


@pytest.mark.parametrize("head_dim", [8, 24, 64])
def test_any_head_dim_will_do(head_dim: int) -> None:
    check(BATCHES[1], Shape(head_dim=head_dim))


@pytest.mark.parametrize("block_size", [4, 8, 32])
@pytest.mark.parametrize("block_n", [16, 32])
def test_blocks_may_be_shorter_or_longer_than_what_is_computed_at_once(
    block_size: int, block_n: int
) -> None:
    check(BATCHES[2], Shape(block_size=block_size), config=replace(SMALL, block_n=block_n))


@pytest.mark.parametrize("block_m", [32, 64])
def test_tiles_may_be_larger_than_the_sequences(block_m: int) -> None:
    check(BATCHES[2], Shape(), config=replace(SMALL, block_m=block_m))


@pytest.mark.parametrize("window", [1, 5, 16, 17, 40, 1000])
def test_a_window_hides_what_lies_further_back(window: int) -> None:
    check(BATCHES[3], Shape(), params=AttentionParams(0.25, window=window))


@pytest.mark.parametrize("window", [None, 9])
def test_scores_are_bounded_by_a_softcap(window: int | None) -> None:
    check(BATCHES[3], Shape(), params=AttentionParams(1.0, window, softcap=2.5))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (9, None), (None, 2.5)])
def test_sinks_take_their_share(
    dtype: torch.dtype, window: int | None, softcap: float | None
) -> None:
    params = AttentionParams(0.25, window, softcap)
    check(BATCHES[3], Shape(num_heads=6, has_sinks=True), dtype, params=params)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf")])
def test_what_lies_outside_the_contexts_has_no_influence(garbage: float) -> None:
    layout, query, pool = make_inputs(BATCHES[2], Shape(), torch.float32)
    params = AttentionParams(0.25)
    wanted = attend(query, pool, layout, params)
    fill_unused_slots(pool, layout, garbage)
    assert torch.equal(attend(query, pool, layout, params), wanted)


def test_pools_of_8_bits_are_scaled() -> None:
    layout, query, pool = make_inputs(BATCHES[3], Shape(), torch.float32)
    pool = (pool * 64).to(torch.float8_e4m3fn)
    params = AttentionParams(0.25, key_scale=1 / 64, value_scale=1 / 32)
    actual = attend(query, pool, layout, params).double()
    wanted = textbook(query, pool, layout, params)
    torch.testing.assert_close(actual, wanted, atol=4e-3, rtol=4e-3)


def test_the_query_may_be_of_another_type_than_the_pool() -> None:
    layout, query, pool = make_inputs(BATCHES[1], Shape(), torch.float32)
    params = AttentionParams(0.25)
    actual = attend(query, pool.half(), layout, params).double()
    wanted = textbook(query, pool.half(), layout, params)
    torch.testing.assert_close(actual, wanted, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("num_rows", [1, 64, 8192])
@pytest.mark.parametrize("head_dim", [64, 128, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("group_size", [1, 7, 64, 128])
def test_the_chosen_tiles_have_room_for_a_group(
    num_rows: int, head_dim: int, dtype: torch.dtype, group_size: int
) -> None:
    pool = torch.empty((0, 1, 2, 2, 64, head_dim), dtype=dtype)
    config = choose_config(num_rows, 2 * group_size, pool)
    work = PrefillWork.allocate(8, num_rows, group_size, config, torch.device("cpu"))
    assert work.queries_per_tile >= 1


def test_every_candidate_is_correct() -> None:
    for config in candidates():
        check([(40, 70), (1, 5), (9, 9)], Shape(block_size=64), DTYPES[-1], config)
