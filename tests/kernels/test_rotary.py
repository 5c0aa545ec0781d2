import torch

from legato.kernels.rotary import apply_rotary_, rotary_tables

FREQUENCIES = torch.tensor([1.0, 0.1, 0.01])


def rotated(heads: torch.Tensor, positions: list[int], scale: float = 1.0) -> torch.Tensor:
    tables = rotary_tables(torch.tensor(positions), FREQUENCIES, scale, heads.dtype)
    result = heads.clone()
    apply_rotary_(result, *tables)
    return result


def test_dimension_pairs_turn_as_complex_numbers() -> None:
    heads, positions = torch.randn(4, 2, 6), [0, 1, 5, 900]
    angles = torch.tensor(positions)[:, None, None] * FREQUENCIES
    turned = torch.complex(*heads.chunk(2, dim=-1)) * torch.polar(torch.ones(()), angles)
    torch.testing.assert_close(rotated(heads, positions), torch.cat((turned.real, turned.imag), -1))


def test_products_depend_on_the_distance_alone() -> None:
    query, key = torch.randn(1, 1, 6), torch.randn(1, 1, 6)
    near = (rotated(query, [7]) * rotated(key, [4])).sum()
    far = (rotated(query, [107]) * rotated(key, [104])).sum()
    torch.testing.assert_close(near, far, atol=1e-4, rtol=0)


def test_a_scale_stretches_both_tables() -> None:
    heads = torch.randn(2, 1, 6)
    torch.testing.assert_close(rotated(heads, [3, 4], 1.5), rotated(heads, [3, 4]) * 1.5)


def test_a_view_of_the_first_heads_leaves_the_others_alone() -> None:
    heads = torch.randn(2, 3, 6)
    before = heads.clone()
    tables = rotary_tables(torch.tensor([3, 4]), FREQUENCIES, 1.0, heads.dtype)
    apply_rotary_(heads[:, :2], *tables)
    assert torch.equal(heads[:, 2], before[:, 2])
    torch.testing.assert_close(heads[:, :2], rotated(before[:, :2], [3, 4]))
