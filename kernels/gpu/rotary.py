"""The cosines and sines of a step's positions, for all layers, in one launch.

    cosines  [tokens, 1, dim]   |  cos a  |  cos a  |     a = position * inverse_frequencies
    sines    [tokens, 1, dim]   | -sin a  |  sin a  |

Angles are float32 products, as everywhere where models are trained: at large positions another
precision would be another model.
"""

import torch
import triton
import triton.language as tl

_TOKENS_PER_PROGRAM = 4


def rotary_tables(
    positions: torch.Tensor, inverse_frequencies: torch.Tensor, scale: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """The angles of a step's tokens, computed once and used by every layer.

    Args:
        positions: [tokens] integers
        inverse_frequencies: [dim / 2] float32, radians for each position
        scale: factor on both tables (YaRN's attention scaling)

    Returns:
        cosines and sines, each [tokens, 1, dim]. The first half of the sines is negated, so that a
        rotation is x * cos + swap_halves(x) * sin.
    """
    num_tokens, half = positions.shape[0], inverse_frequencies.shape[0]
    tables = torch.empty((2, num_tokens, 1, 2 * half), dtype=dtype, device=positions.device)
    rotary_tables_kernel[(triton.cdiv(num_tokens, _TOKENS_PER_PROGRAM),)](
        positions,
        inverse_frequencies,
        tables,
        scale,
        num_tokens,
        HALF=half,
        BLOCK_TOKENS=_TOKENS_PER_PROGRAM,
        BLOCK_HALF=triton.next_power_of_2(half),
        num_warps=4,
    )
    return tables[0], tables[1]


@triton.jit(do_not_specialize=["num_tokens"])
def rotary_tables_kernel(
    positions,
    inverse_frequencies,
    tables,
    scale,
    num_tokens,
    HALF: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
):
    tokens = tl.program_id(0) * BLOCK_TOKENS + tl.arange(0, BLOCK_TOKENS)
    columns = tl.arange(0, BLOCK_HALF)
    is_column = columns < HALF
    position = tl.load(positions + tokens, tokens < num_tokens, other=0).to(tl.float32)
    frequency = tl.load(inverse_frequencies + columns, is_column, other=0.0)
    angles = position[:, None] * frequency[None, :]
    cosine = (tl.cos(angles) * scale).to(tables.dtype.element_ty)
    sine = (tl.sin(angles) * scale).to(tables.dtype.element_ty)

    mask = (tokens < num_tokens)[:, None] & is_column[None, :]
    cosines = tables + tokens.to(tl.int64)[:, None] * 2 * HALF + columns[None, :]
    sines = cosines + num_tokens.to(tl.int64) * 2 * HALF
    tl.store(cosines, cosine, mask)
    tl.store(cosines + HALF, cosine, mask)
    tl.store(sines, -sine, mask)
    tl.store(sines + HALF, sine, mask)
