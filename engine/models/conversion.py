"""Stored tensors into parameters, where they are laid out in another way, or have fewer bits.

    stored     [experts, inputs, outputs]     gate 0, up 0, gate 1, up 1, ...      or MXFP4
    parameter  [experts, outputs, inputs]     gate 0, gate 1, ..., up 0, up 1, ...

MXFP4: blocks of 32 numbers of 4 bits, the first of two in a byte's low half, and a power of two for
each block.

Which tensors are stored how is told by moe_parameters.py.
"""

from collections.abc import Sequence

import torch

from legato.engine.models.parameter import Conversion
from legato.engine.models.quantization import ScaleBlock

_POSITIVE_FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_EXPONENT_BIAS = 127


def convert(stored: Sequence[torch.Tensor], conversion: Conversion, target: torch.Tensor) -> None:
    """Fills `target`, expert by expert, so that little memory is needed beside it.

    Args:
        stored: as the checkpoint has them; of MXFP4, blocks and scales
        target: [experts, outputs, inputs], or of biases [experts, outputs]; of any type
    """
    for expert, rows in enumerate(target):
        parts = [tensor[expert] for tensor in stored]
        values = dequantize_mxfp4(*parts) if conversion.is_mxfp4 else parts[0]
        if conversion.is_transposed:
            values = values.T
        if conversion.is_interleaved:
            gates, ups = rows.chunk(2)
            gates.copy_(values[::2])
            ups.copy_(values[1::2])
        else:
            rows.copy_(values)


def scale_(matrix: torch.Tensor, scales: torch.Tensor, block: ScaleBlock) -> None:
    """Multiplies a matrix that was stored in 8 bits with its scales, in float32, in place.

    Args:
        matrix: [rows, inputs]
        scales: [row blocks, input blocks] float32
    """
    rows, inputs = matrix.shape
    wide = scales.repeat_interleave(block.num_inputs, 1)[:, :inputs]
    matrix.copy_(matrix.float() * wide.repeat_interleave(block.num_rows, 0)[:rows])


def dequantize_mxfp4(blocks: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Exact for all numbers that bfloat16 has.

    Args:
        blocks: [..., blocks, 16] uint8
        scales: [..., blocks] uint8

    Returns:
        [..., blocks * 32] float32
    """
    negative = [-value for value in _POSITIVE_FP4]
    numbers = torch.tensor([*_POSITIVE_FP4, *negative], device=blocks.device)
    codes = torch.stack((blocks & 0x0F, blocks >> 4), dim=-1).flatten(-2)
    exponents = scales.int().unsqueeze(-1) - _EXPONENT_BIAS
    return torch.ldexp(numbers[codes.int()], exponents).flatten(-2)
