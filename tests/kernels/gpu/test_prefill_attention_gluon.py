from dataclasses import replace

import pytest
import torch

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.prefill_attention_gluon import supports_specialized
from legato.kernels.gpu.prefill_work import PrefillConfig, PrefillWork
from legato.tests.kernels.gpu.device import DEVICE
from legato.tests.kernels.gpu.prefill_batches import (
    BATCHES,
    SMALL,
    Shape,
    attend,
    check,
    fill_unused_slots,
    make_inputs,
)

SPECIALIZED = PrefillConfig(num_slots=2)
SHAPE = Shape(num_heads=8, num_kv_heads=2, head_dim=128, block_size=64)
LONG = [(130, 130), (1, 700), (64, 640), (300, 1000), (2, 129), (128, 128), (129, 257), (1, 5)]


def is_supported(query: torch.Tensor, pool: torch.Tensor, params: AttentionParams) -> bool:
    work = PrefillWork.allocate(2, 8, 4, SPECIALIZED, torch.device("cpu"))
    return supports_specialized(query, pool, work, params)


def test_without_a_gpu_all_warps_do_the_same() -> None:
    pool = torch.zeros((1, 1, 2, 2, 64, 128), dtype=torch.bfloat16)
    assert not is_supported(
        torch.zeros((8, 8, 128), dtype=torch.bfloat16), pool, AttentionParams(1.0)
    )
    check(BATCHES[1], Shape(), config=replace(SMALL, num_slots=2))


@pytest.mark.gpu
def test_what_is_not_supported_is_left_to_the_plain_kernel() -> None:
    pool = torch.zeros((1, 1, 2, 2, 64, 128), dtype=torch.bfloat16, device=DEVICE)
    query = torch.zeros((8, 8, 128), dtype=torch.bfloat16, device=DEVICE)
    plain = AttentionParams(1.0)
    assert is_supported(query, pool, plain)
    assert not is_supported(query, pool, AttentionParams(1.0, softcap=30.0))
    assert not is_supported(query.half(), pool, plain)
    assert not is_supported(query, pool.to(torch.float8_e4m3fn), plain)
    assert not is_supported(query[:, :, :96], pool[..., :96], plain)
    assert not is_supported(query, pool[..., :16, :], plain)


@pytest.mark.gpu
@pytest.mark.parametrize("num_slots", [2, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_long_batches_equal_the_textbook(num_slots: int, dtype: torch.dtype) -> None:
    check(LONG, SHAPE, dtype, PrefillConfig(num_slots=num_slots), num_blocks=160)


@pytest.mark.gpu
@pytest.mark.parametrize("lens", BATCHES)
def test_short_batches_equal_the_textbook(lens: list[tuple[int, int]]) -> None:
    check(lens, SHAPE, torch.bfloat16, SPECIALIZED)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [replace(SHAPE, head_dim=64), replace(SHAPE, block_size=128)])
def test_heads_and_blocks_may_be_of_other_sizes(shape: Shape) -> None:
    check(LONG, shape, torch.bfloat16, SPECIALIZED, num_blocks=160)


@pytest.mark.gpu
@pytest.mark.parametrize("num_heads", [2, 14, 16, 128])
def test_any_number_of_query_heads_shares_a_key_head(num_heads: int) -> None:
    check(LONG, replace(SHAPE, num_heads=num_heads), torch.bfloat16, SPECIALIZED, num_blocks=160)


@pytest.mark.gpu
@pytest.mark.parametrize("window", [1, 100, 128, 129, 300, 4000])
def test_a_window_hides_what_lies_further_back(window: int) -> None:
    params = AttentionParams(0.09, window=window)
    check(LONG, SHAPE, torch.bfloat16, SPECIALIZED, params, num_blocks=160)


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 128])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_sinks_take_their_share(window: int | None, head_dim: int) -> None:
    shape = replace(SHAPE, num_heads=16, head_dim=head_dim, has_sinks=True)
    params = AttentionParams(0.09, window=window)
    check(LONG, shape, torch.bfloat16, SPECIALIZED, params, num_blocks=160)


@pytest.mark.gpu
def test_what_lies_outside_the_contexts_has_no_influence() -> None:
    layout, query, pool = make_inputs(LONG, SHAPE, torch.bfloat16, num_blocks=160)
    wanted = attend(query, pool, layout, AttentionParams(0.09), SPECIALIZED)
    fill_unused_slots(pool, layout, float("nan"))
    assert torch.equal(attend(query, pool, layout, AttentionParams(0.09), SPECIALIZED), wanted)


@pytest.mark.gpu
def test_the_same_batch_gives_the_same_bits_every_time() -> None:
    layout, query, pool = make_inputs(LONG * 4, SHAPE, torch.bfloat16, num_blocks=600)
    wanted = attend(query, pool, layout, AttentionParams(0.09), SPECIALIZED)
    for _ in range(20):
        assert torch.equal(attend(query, pool, layout, AttentionParams(0.09), SPECIALIZED), wanted)
