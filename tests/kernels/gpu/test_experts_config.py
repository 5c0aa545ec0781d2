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
