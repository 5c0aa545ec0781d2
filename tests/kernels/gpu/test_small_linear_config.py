from dataclasses import replace

import pytest

from legato.kernels.gpu.small_linear_config import (
    SmallLinearConfig,
    Table,
    candidates,
    choose,
    num_tokens_bucket,
)
from legato.kernels.gpu.small_linear_table import TABLE
from legato.tests.kernels.gpu.compiled import MAX_SHARED_BYTES

# Rows and inputs of weights of Llama 8B and 70B (also on 8 GPUs), and Qwen 0.5B and 7B.
SHAPES = [
    (6144, 4096),
    (4096, 4096),
    (28672, 4096),
    (4096, 14336),
    (128256, 4096),
    (1280, 8192),
    (8192, 1024),
    (7168, 8192),
    (8192, 3584),
    (1152, 896),
    (9728, 896),
    (896, 4864),
    (4608, 3584),
    (152064, 3584),
]


@pytest.mark.parametrize("num_tokens", [1, 16, 33, 64])
@pytest.mark.parametrize(("num_rows", "num_inputs"), SHAPES)
def test_candidates_fit_the_weight_and_the_shared_memory(
    num_tokens: int, num_rows: int, num_inputs: int
) -> None:
    configs = candidates(num_tokens, num_rows, num_inputs)
    assert len(configs) == len(set(configs)) > 4
    for config in configs:
        assert config.fits(num_rows, num_inputs)
        block_bytes = 2 * config.block_inputs * (config.block_rows + num_tokens_bucket(num_tokens))
        assert config.num_stages * block_bytes <= MAX_SHARED_BYTES


@pytest.mark.parametrize(("num_rows", "num_inputs"), SHAPES)
def test_a_few_tokens_are_never_left_to_cublas_without_a_measurement(
    num_rows: int, num_inputs: int
) -> None:
    for num_tokens in (1, 8, 16):
        config = choose(num_tokens, num_rows, num_inputs, {})
        assert config is not None and config.fits(num_rows, num_inputs)


def test_measured_choices_come_before_guesses() -> None:
    config = SmallLinearConfig(16, 128, num_splits=2, num_warps=2, num_stages=4)
    table: Table = {(4096, 4096, 16): None, (4096, 4096, 64): config}
    assert choose(3, 4096, 4096, table) is None
    assert choose(33, 4096, 4096, table) is config
    assert choose(17, 4096, 4096, table) is None  # not measured, and no guess for so many


@pytest.mark.parametrize("num_tokens", [0, 65, 8192])
def test_many_tokens_and_none_are_left_to_cublas(num_tokens: int) -> None:
    assert choose(num_tokens, 4096, 4096, TABLE) is None


@pytest.mark.parametrize(("num_rows", "num_inputs"), [(4096, 100), (10, 4096), (64, 0)])
def test_odd_sizes_are_left_to_cublas(num_rows: int, num_inputs: int) -> None:
    assert choose(1, num_rows, num_inputs, TABLE) is None


def test_no_program_asks_for_weights_of_its_neighbour() -> None:
    config = SmallLinearConfig(64, 128, num_splits=3, num_warps=4, num_stages=4)
    assert config.prefetch_inputs(4096) == 512
    assert config.prefetch_inputs(1152) == 256  # 384 for each split
    assert config.prefetch_inputs(384) == 128
    assert replace(config, max_prefetch_inputs=0).prefetch_inputs(4096) == 0


def test_the_table_fits_its_shapes() -> None:
    for (num_rows, num_inputs, bucket), config in TABLE.items():
        assert bucket in (16, 32, 64)
        assert config is None or config.fits(num_rows, num_inputs)
