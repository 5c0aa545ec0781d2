import pytest
import torch

from legato.kernels.gpu.latent_shape import (
    LatentShape,
    decode_candidates,
    decode_config,
    heads_of_group,
    prefill_config,
    rows_of_group,
)


@pytest.mark.parametrize(
    ("num_heads", "group"), [(1, 1), (6, 6), (16, 16), (40, 20), (64, 32), (128, 32), (37, 1)]
)
def test_heads_are_divided_into_equal_groups(num_heads: int, group: int) -> None:
    assert heads_of_group(num_heads) == group


def test_rows_are_what_matrix_products_need() -> None:
    assert [rows_of_group(group) for group in (1, 16, 20, 32)] == [16, 16, 32, 32]


def test_sizes_are_padded_to_powers_of_two() -> None:
    shape = LatentShape(3, 2, 16, latent_dim=20, rope_dim=6, block_size=8, tile=16)
    assert (shape.dims, shape.rope_dims, shape.stored_dim) == (32, 16, 26)


@pytest.mark.parametrize("group", [1, 16, 20, 32])
def test_every_group_fits_a_prefill_tile_of_every_type(group: int) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert prefill_config(group, dtype).block_m >= group
    assert decode_config(group, torch.bfloat16) == decode_candidates(group)[0]
