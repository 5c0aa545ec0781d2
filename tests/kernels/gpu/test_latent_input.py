import pytest
import torch

from legato.kernels import latent_input as twin
from legato.kernels.gpu.latent_input import rotate_and_write_latent
from legato.kernels.latent_input import LatentNorm
from legato.kernels.rotary import rotary_tables
from legato.tests.kernels.gpu.device import DEVICE, DTYPES, TOLERANCES

LAYER, NUM_LAYERS, NUM_BLOCKS, BLOCK_SIZE = 1, 2, 5, 8
SIZES = [(4, 32, 16), (3, 20, 6), (17, 64, 2)]  # heads, latent_dim, rope_dim


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_tokens", [1, 13])
@pytest.mark.parametrize("sizes", SIZES)
def test_queries_and_pool_are_those_of_the_twin(
    sizes: tuple[int, int, int], num_tokens: int, dtype: torch.dtype
) -> None:
    heads, latent_dim, rope_dim = sizes
    stored_dim = latent_dim + rope_dim

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=DEVICE).to(dtype)

    # Parts of wider tensors, as in a model.
    turned = random(num_tokens, heads, rope_dim + 10)[..., 10:]
    stored = random(num_tokens, stored_dim + 12)[:, 12:]
    query, pool = random(num_tokens, heads, stored_dim), random(5, 2, 1, 1, 8, stored_dim)
    positions = torch.randint(0, 500, (num_tokens,), device=DEVICE)
    rotary = rotary_tables(positions, torch.rand(rope_dim // 2, device=DEVICE), 1.0, dtype)
    norm = LatentNorm(random(latent_dim), 1e-5)
    slots = torch.randperm(NUM_BLOCKS * BLOCK_SIZE, device=DEVICE)[:num_tokens]
    slots[2::3] = -1

    exact_query, exact_pool = query.double(), pool.double()
    cosines, sines = (table.double() for table in rotary)
    twin.rotate_and_write_latent(
        turned.double(), stored.double(), exact_query, (cosines, sines),
        LatentNorm(norm.weight.double(), norm.eps), exact_pool, LAYER, slots,
    )  # fmt: skip
    rotate_and_write_latent(turned, stored, query, rotary, norm, pool, LAYER, slots)

    tolerance = TOLERANCES[dtype] * 2  # values of up to four times the usual ones
    torch.testing.assert_close(query.double(), exact_query, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(pool.double(), exact_pool, atol=tolerance, rtol=tolerance)
