import pytest
import torch

from legato.kernels.gpu.latent_shape import heads_of_group, prefill_config
from legato.kernels.gpu.prefill_work import PrefillConfig
from legato.tests.kernels.gpu.device import DEVICE, DTYPES, TOLERANCES
from legato.tests.kernels.gpu.latent_runs import run_prefill, wanted
from legato.tests.kernels.latent_batches import BATCHES, LatentBatch, Shape

CONFIG = PrefillConfig(block_m=32, block_n=16, num_warps=4, num_stages=1)
SHAPES = [
    Shape(),
    Shape(num_heads=3, latent_dim=20, rope_dim=6, block_size=8),
    Shape(num_heads=40, block_size=64),
]


def check(
    lens: list[tuple[int, int]], shape: Shape, dtype: torch.dtype, config: PrefillConfig = CONFIG
) -> None:
    batch = LatentBatch.make(lens, shape, dtype)
    found, tolerance = run_prefill(batch, shape, config).double(), TOLERANCES[dtype]
    exact = wanted(batch, shape, is_decode=False)
    torch.testing.assert_close(found, exact, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("lens", BATCHES)
def test_prompts_and_chunks_of_prompts(lens: list[tuple[int, int]]) -> None:
    check(lens, Shape(), torch.float32)


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_sizes_that_fill_no_tile(shape: Shape) -> None:
    check([(5, 21), (1, 9), (3, 3)], shape, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_every_type(dtype: torch.dtype) -> None:
    check([(9, 33), (2, 2)], Shape(num_heads=16), dtype)


@pytest.mark.parametrize("num_heads", [16, 64])
def test_sizes_and_configurations_of_large_models(num_heads: int) -> None:
    shape = Shape(num_heads, latent_dim=512, rope_dim=64, block_size=64)
    config = prefill_config(heads_of_group(num_heads), DTYPES[-1])
    check([(7, 70), (3, 130)], shape, DTYPES[-1], config)


@pytest.mark.skipif(DEVICE.type == "cpu", reason="as long contexts as this take minutes on a CPU")
@pytest.mark.parametrize("num_heads", [16, 128])
@pytest.mark.parametrize("block_size", [64, 128])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_prompts_and_chunks_of_many_tiles(
    num_heads: int, block_size: int, dtype: torch.dtype
) -> None:
    shape = Shape(num_heads, latent_dim=512, rope_dim=64, block_size=block_size)
    config = prefill_config(heads_of_group(num_heads), dtype)
    check([(64, 64), (65, 400), (2, 577), (1, 70), (257, 257), (128, 511)], shape, dtype, config)
