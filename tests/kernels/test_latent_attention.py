import pytest
import torch

from legato.kernels.attention_params import AttentionParams
from legato.kernels.attention_plan import build_attention_plan
from legato.kernels.latent_attention import latent_attention
from legato.tests.kernels.latent_batches import BATCHES, LAYER, SCALE, LatentBatch, Shape

SHAPES = [Shape(), Shape(num_heads=3, latent_dim=20, rope_dim=6, block_size=4)]


def attend(batch: LatentBatch, value_dim: int) -> torch.Tensor:
    plan = build_attention_plan(batch.layout, batch.pool)
    params = AttentionParams(SCALE)
    return latent_attention(batch.query, batch.pool, LAYER, plan, params, value_dim)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lens", BATCHES)
def test_it_is_attention_whose_values_are_the_beginnings_of_keys(
    lens: list[tuple[int, int]], shape: Shape
) -> None:
    batch = LatentBatch.make(lens, shape, torch.float32)
    actual = attend(batch, shape.latent_dim)
    wanted = batch.textbook(shape.latent_dim).float()
    torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-5)


def test_bfloat16_is_as_good_as_bfloat16_allows() -> None:
    batch = LatentBatch.make(BATCHES[2], Shape(), torch.bfloat16)
    actual, wanted = attend(batch, 32), batch.textbook(32)
    torch.testing.assert_close(actual.double(), wanted, atol=2e-2, rtol=2e-2)
