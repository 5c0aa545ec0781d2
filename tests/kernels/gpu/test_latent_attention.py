"""A planned step with chunks of prompts and single queries at once."""

import pytest
import torch

from legato.kernels.attention_params import AttentionParams
from legato.kernels.backend import AttentionShape, AttentionStep
from legato.kernels.gpu.attention_plan import allocate_attention, plan_attention
from legato.kernels.gpu.latent_attention import latent_attention
from legato.tests.kernels.gpu.device import DEVICE, DTYPES, TOLERANCES
from legato.tests.kernels.gpu.latent_runs import device_batch
from legato.tests.kernels.latent_batches import BATCHES, LAYER, SCALE, LatentBatch, Shape

SHAPE = Shape(num_heads=8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_sequence_of_a_mixed_step_gets_its_result(dtype: torch.dtype) -> None:
    batch = LatentBatch.make(BATCHES[2], SHAPE, dtype)
    pool, query = batch.pool.to(DEVICE), batch.query.to(DEVICE)
    shape = AttentionShape(SHAPE.num_heads, 1, pool.shape[5], 8, latent_dim=SHAPE.latent_dim)
    step = AttentionStep(device_batch(batch), lambda: batch.layout, query.shape[0], False)
    plan = plan_attention(step, pool, allocate_attention(shape, DEVICE))
    params = AttentionParams(SCALE)
    found = latent_attention(query, pool, LAYER, plan, params, SHAPE.latent_dim)
    exact, tolerance = batch.textbook(SHAPE.latent_dim), TOLERANCES[dtype]
    torch.testing.assert_close(found.cpu().double(), exact, atol=tolerance, rtol=tolerance)
