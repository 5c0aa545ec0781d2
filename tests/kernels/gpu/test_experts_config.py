from dataclasses import replace

import pytest

from legato.kernels.gpu.experts_config import (
    MAX_BLOCK_PAIRS,
    MIN_BLOCK_PAIRS,
    ProductConfig,
    ProductShape,
    block_pairs_of,
    candidates,
    choose_config,
    prefetch_inputs_of,
)


@pytest.mark.parametrize(
    ("num_pairs", "num_experts", "wanted"),
    [(1, 8, 16), (64, 8, 16), (256, 8, 64), (1024, 128, 16), (8192, 128, 128), (8192, 8, 128)],
)
def test_most_experts_fit_into_one_tile(num_pairs: int, num_experts: int, wanted: int) -> None:
    assert block_pairs_of(num_pairs, num_experts) == wanted


def test_tiles_grow_with_the_number_of_pairs_and_skip_no_size() -> None:
    """So that what runs between two sizes that were compiled is compiled."""
    sizes = [block_pairs_of(num_pairs, 24) for num_pairs in range(1, 5000)]
    assert sizes == sorted(sizes)
    wanted = {16, 32, 64, 128}
    assert set(sizes) == wanted
    assert {min(wanted), max(wanted)} == {MIN_BLOCK_PAIRS, MAX_BLOCK_PAIRS}


def test_measured_configurations_come_first() -> None:
    measured = ProductConfig(64, 64, num_warps=4, num_stages=3)
    shape = ProductShape(512, 256, 16, is_gated=True)
    table = {shape: measured}
    assert choose_config(shape, 2, table) is measured
    assert choose_config(replace(shape, block_pairs=32), 2, table) != measured
    assert choose_config(shape, 4, table) != measured


@pytest.mark.parametrize("block_pairs", [16, 32, 64, 128])
def test_there_are_candidates_and_the_guess_fits_like_them(block_pairs: int) -> None:
    assert len(list(candidates(block_pairs))) > 5
    shapes = [ProductShape(4096, 4096, block_pairs, is_gated) for is_gated in (False, True)]
    for config in (*candidates(block_pairs), *(choose_config(shape, 2, {}) for shape in shapes)):
        stage_bytes = 2 * config.block_inputs * (config.block_rows + block_pairs)
        assert stage_bytes * config.num_stages <= 227 << 10


@pytest.mark.parametrize(
    ("config_inputs", "num_experts", "wanted"),
    [(0, 8, 0), (256, 8, 256), (256, 128, 256), (1 << 20, 8, 768), (1 << 20, 128, 256)],
)
def test_whole_rows_are_prefetched_if_the_cache_holds_all(
    config_inputs: int, num_experts: int, wanted: int
) -> None:
    config = ProductConfig(64, 64, 4, 3, prefetch_inputs=config_inputs)
    shape = ProductShape(2048, 768, 16, is_gated=False)
    assert prefetch_inputs_of(config, shape, num_experts, 2) == wanted


@pytest.mark.parametrize(("block_pairs", "num_inputs"), [(128, 768), (16, 40), (16, 200)])
def test_nothing_is_prefetched_for_many_pairs_or_off_16_bytes(
    block_pairs: int, num_inputs: int
) -> None:
    config, shape = ProductConfig(64, 64, 4, 3), ProductShape(64, num_inputs, block_pairs, False)
    assert prefetch_inputs_of(config, shape, 1, 2) == 0
