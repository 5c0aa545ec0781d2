import torch

from legato.engine.models.latent_config import LatentConfig
from legato.engine.models.latent_weights import assemble_latent

HEADS, HIDDEN = 3, 2
LATENT = LatentConfig(
    query_rank=None, latent_dim=4, plain_dim=2, rope_dim=6, value_dim=5, has_pairs=True
)


def numbered(rows: int, columns: int) -> torch.Tensor:
    """Each row holds its own number."""
    return torch.arange(rows, dtype=torch.float32)[:, None].repeat(1, columns)


def tensors() -> dict[str, torch.Tensor]:
    return {
        "a.qkv": numbered(HEADS * LATENT.key_dim + LATENT.stored_dim, HIDDEN),
        "a.latent.norm": torch.ones(LATENT.latent_dim),
        "a.latent.expand": numbered(HEADS * 7, LATENT.latent_dim),
    }


def test_rows_that_turn_in_pairs_are_parted_into_halves() -> None:
    given = tensors()
    assemble_latent(given, "a.", LATENT)
    rows = given["a.qkv"][:, 0].int().tolist()
    assert rows[:8] == [0, 1, 2, 4, 6, 3, 5, 7]  # head 0: two plain rows, six that turn
    assert rows[8:16] == [8, 9, 10, 12, 14, 11, 13, 15]
    assert rows[24:] == [24, 25, 26, 27, 28, 30, 32, 29, 31, 33]  # the latent, then what turns


def test_each_head_has_a_matrix_for_keys_and_one_for_values() -> None:
    weights = assemble_latent(tensors(), "a.", LATENT)
    assert weights.key_up.shape == (HEADS, 2, 4) and weights.value_up.shape == (HEADS, 4, 5)
    assert weights.key_up[1, :, 0].tolist() == [7, 8]
    assert weights.value_up[1, 0].tolist() == [9, 10, 11, 12, 13]
    assert weights.query is None and weights.query_norm is None
