import pytest
import torch
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from legato.engine.models.conversion import convert, dequantize_mxfp4
from legato.engine.models.parameter import Conversion


def make_mxfp4(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Blocks and scales, of all bytes and of exponents that weights have."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, 256, (*shape, 16), generator=generator, dtype=torch.uint8)
    return blocks, torch.randint(100, 140, shape, generator=generator, dtype=torch.uint8)


def test_matrices_are_turned_and_gates_put_before_ups() -> None:
    stored, target = torch.randn(3, 5, 8), torch.empty(3, 8, 5)
    convert([stored], Conversion((3, 8, 5), is_transposed=True, is_interleaved=True), target)
    assert torch.equal(target[:, :4], stored[:, :, ::2].mT)
    assert torch.equal(target[:, 4:], stored[:, :, 1::2].mT)


def test_biases_are_put_in_the_order_of_their_rows() -> None:
    target = torch.empty(2, 4)
    convert([torch.arange(8.0).view(2, 4)], Conversion((2, 4), is_interleaved=True), target)
    assert target.tolist() == [[0, 2, 1, 3], [4, 6, 5, 7]]


def test_two_numbers_of_4_bits_are_a_byte_and_the_first_is_its_low_half() -> None:
    blocks = torch.zeros(1, 16, dtype=torch.uint8)
    blocks[0, 0], blocks[0, 1] = 0x21, 0xF7
    values = dequantize_mxfp4(blocks, torch.tensor([128], dtype=torch.uint8))
    assert values[:4].tolist() == [1.0, 2.0, 12.0, -12.0]
    assert not values[4:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_of_4_bits_are_bit_for_bit_what_transformers_makes_of_them(
    dtype: torch.dtype,
) -> None:
    blocks, scales = make_mxfp4(3, 6, 2)
    wanted = convert_moe_packed_tensors(blocks, scales, dtype=dtype).mT
    target = torch.empty(3, 6, 64, dtype=dtype)
    convert([blocks, scales], Conversion((3, 6, 64), is_mxfp4=True), target)
    assert torch.equal(target.view(torch.uint8), wanted.contiguous().view(torch.uint8))


def test_numbers_of_4_bits_may_be_interleaved_too() -> None:
    blocks, scales = make_mxfp4(2, 4, 1)
    target = torch.empty(2, 4, 32)
    convert([blocks, scales], Conversion((2, 4, 32), is_interleaved=True, is_mxfp4=True), target)
    assert torch.equal(target, dequantize_mxfp4(blocks, scales)[:, [0, 2, 1, 3]])
