from dataclasses import replace

import pytest
import torch

from legato.kernels.gpu.decode_work import DecodeConfig
from legato.kernels.gpu.latent_shape import decode_config
from legato.tests.kernels.gpu.device import DEVICE, DTYPES, TOLERANCES
from legato.tests.kernels.gpu.latent_runs import decode_group, run_decode, wanted
from legato.tests.kernels.latent_batches import BATCHES, LatentBatch, Shape

# Spans so short that small contexts are cut into many parts.
SHORT_SPANS = DecodeConfig(16, 4, 1, 2, min_span_tokens=16)
ONES = [(1, n) for n in (1, 15, 16, 17, 33, 70)]
SHAPES = [
    Shape(),
    Shape(num_heads=3, latent_dim=20, rope_dim=6, block_size=8),
    Shape(num_heads=40, block_size=64),  # two groups of 20 heads
    Shape(num_heads=2, latent_dim=160),  # merged in several rounds
]


def check(
    lens: list[tuple[int, int]],
    shape: Shape,
    dtype: torch.dtype,
    config: DecodeConfig = SHORT_SPANS,
) -> None:
    batch = LatentBatch.make(lens, shape, dtype)
    found, tolerance = run_decode(batch, shape, config).double(), TOLERANCES[dtype]
    exact = wanted(batch, shape, is_decode=True)
    torch.testing.assert_close(found, exact, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("shape", SHAPES)
def test_contexts_cut_into_parts_of_any_length(shape: Shape) -> None:
    check(ONES, shape, torch.float32)


@pytest.mark.parametrize("lens", BATCHES)
def test_sequences_with_more_queries_and_padding_are_left_alone(
    lens: list[tuple[int, int]],
) -> None:
    check(lens, Shape(), torch.float32)


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_every_type(dtype: torch.dtype) -> None:
    check(ONES, Shape(num_heads=16), dtype)


@pytest.mark.parametrize("num_heads", [16, 64, 128])
def test_sizes_and_configurations_of_large_models(num_heads: int) -> None:
    shape = Shape(num_heads, latent_dim=512, rope_dim=64, block_size=64)
    config = decode_config(decode_group(shape, DTYPES[-1]), DTYPES[-1])
    check([(1, 100), (1, 300)], shape, DTYPES[-1], config)


def test_results_are_the_same_every_time() -> None:
    batch = LatentBatch.make(ONES, Shape(), torch.float32)
    first, second = (run_decode(batch, Shape(), SHORT_SPANS) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.skipif(DEVICE.type == "cpu", reason="as long contexts as this take minutes on a CPU")
@pytest.mark.parametrize("block_size", [64, 128])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_many_heads_over_spans_that_cut_contexts_anywhere(
    block_size: int, dtype: torch.dtype
) -> None:
    shape = Shape(128, latent_dim=512, rope_dim=64, block_size=block_size)
    config = decode_config(decode_group(shape, dtype), dtype)
    lens = [(1, n) for n in (1, 63, 64, 65, 600, 128, 577)]
    for span in (64, 192):  # tokens
        layout = replace(config, min_span_tokens=span)
        check([*lens, (3, 70), (1, 5)], shape, dtype, layout)
