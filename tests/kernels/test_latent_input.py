import torch

from legato.kernels.latent_input import LatentNorm, rotate_and_write_latent
from legato.kernels.norm import rms_norm
from legato.kernels.rotary import apply_rotary_, rotary_tables

NUM_HEADS, LATENT_DIM, ROPE_DIM, BLOCK_SIZE, LAYER = 3, 20, 6, 4, 1
STORED_DIM = LATENT_DIM + ROPE_DIM


def test_queries_turn_and_tokens_leave_their_latent_and_their_turned_part() -> None:
    torch.manual_seed(0)
    turned, stored = torch.randn(5, NUM_HEADS, ROPE_DIM), torch.randn(5, STORED_DIM)
    query = torch.randn(5, NUM_HEADS, STORED_DIM)
    rotary = rotary_tables(torch.arange(5) + 3, torch.rand(ROPE_DIM // 2), 1.2, torch.float32)
    norm = LatentNorm(torch.randn(LATENT_DIM), 0.1)
    pool = torch.zeros(4, 2, 1, 1, BLOCK_SIZE, STORED_DIM)
    slots = torch.tensor([9, 2, -1, 15, 0])
    plain = query[..., :LATENT_DIM].clone()
    wanted_turned, wanted_rest = turned.clone(), stored[:, None, LATENT_DIM:].clone()
    apply_rotary_(wanted_turned, *rotary)
    apply_rotary_(wanted_rest, *rotary)

    rotate_and_write_latent(turned, stored, query, rotary, norm, pool, LAYER, slots)

    torch.testing.assert_close(query[..., LATENT_DIM:], wanted_turned)
    assert torch.equal(query[..., :LATENT_DIM], plain)
    flat = pool[:, LAYER, 0, 0].flatten(0, 1)
    latents = rms_norm(stored[:, :LATENT_DIM], norm.weight, norm.eps)
    for token, slot in enumerate(slots.tolist()):
        if slot >= 0:
            torch.testing.assert_close(flat[slot, :LATENT_DIM], latents[token])
            torch.testing.assert_close(flat[slot, LATENT_DIM:], wanted_rest[token, 0])
    assert int((pool != 0).any(-1).sum()) == 4
