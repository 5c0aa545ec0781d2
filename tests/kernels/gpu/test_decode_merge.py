# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
from functools import partial

import pytest
import torch
import triton
import triton.language as tl

from legato.kernels.gpu.decode_merge import finish_part
from legato.kernels.gpu.decode_piece import PieceShape
from legato.tests.kernels.gpu.device import DEVICE

FIRST_PROGRAM, VALUE_SCALE = 2, 0.5


@triton.jit
def _finish_parts(  # noqa: PLR0913
    results,
    lses,
    partial_outputs,
    partial_lses,
    arrivals,
    output,
    first_program,
    value_scale,
    sinks,
    SHAPE: tl.constexpr,
):
    """Each program has one part of the same piece."""
    part = tl.program_id(0)
    rows = tl.arange(0, SHAPE.rows)
    dims = tl.arange(0, SHAPE.dims)
    row_of_part = part * SHAPE.group + rows
    is_row = rows < SHAPE.group
    mask = is_row[:, None] & (dims < SHAPE.head_dim)[None, :]
    pointers = results + row_of_part[:, None] * SHAPE.head_dim + dims[None, :]
    result = tl.load(pointers, mask, float("nan"))
    lse = tl.load(lses + row_of_part, is_row, float("nan"))
    finish_part(
        result, lse, first_program + part, first_program, tl.num_programs(0), partial_outputs,
        partial_lses, arrivals, output, value_scale, sinks, 1, SHAPE,
    )  # fmt: skip


def finish(
    results: torch.Tensor, lses: torch.Tensor, sinks: torch.Tensor | None = None
) -> torch.Tensor:
    """The output of a piece of [parts, group, head_dim] and [parts, group], twice over."""
    num_parts, group, head_dim = results.shape
    places = 2 * (FIRST_PROGRAM + num_parts)
    new = partial(torch.full, fill_value=float("nan"), device=DEVICE)
    shape = PieceShape(group, 1, head_dim, 16, 16, has_softcap=False, swaps_operands=False)
    workspace = new((places, group, head_dim)), new((places, group))
    arrivals = torch.zeros(places, dtype=torch.int32, device=DEVICE)
    outputs = [new((group, head_dim)) for _ in range(2)]
    for output in outputs:
        arguments = (results.to(DEVICE), lses.to(DEVICE), *workspace, arrivals, output)
        on_device = None if sinks is None else torch.cat((new((group,)), sinks.to(DEVICE)))
        _finish_parts[(num_parts,)](*arguments, FIRST_PROGRAM, VALUE_SCALE, on_device, SHAPE=shape)
    assert not arrivals.any()
    assert torch.equal(*outputs)
    return outputs[0].cpu()


@pytest.mark.parametrize("num_parts", [2, 5, 40])
@pytest.mark.parametrize(("group", "head_dim"), [(1, 16), (3, 24), (16, 64)])
def test_parts_weigh_as_much_as_their_tokens(num_parts: int, group: int, head_dim: int) -> None:
    generator = torch.Generator().manual_seed(num_parts)
    results = torch.randn((num_parts, group, head_dim), generator=generator)
    lses = torch.randn((num_parts, group), generator=generator) * 4
    weights = (lses.double() * torch.tensor(2.0).log()).softmax(0)
    expected = (weights[:, :, None] * results).sum(0) * VALUE_SCALE
    torch.testing.assert_close(finish(results, lses).double(), expected, rtol=1e-5, atol=1e-6)


def test_parts_may_have_very_different_weights() -> None:
    results = torch.tensor([1.0, 2.0, 4.0])[:, None, None].expand(3, 1, 16).contiguous()
    lses = torch.tensor([[-3e4], [3e4], [3e4]])
    assert (finish(results, lses) == 3.0 * VALUE_SCALE).all()


@pytest.mark.parametrize("group", [1, 3])
def test_sinks_weigh_once_however_many_parts_there_are(group: int) -> None:
    generator = torch.Generator().manual_seed(group)
    results = torch.randn((5, group, 16), generator=generator)
    lses, sinks = torch.randn((5, group), generator=generator), torch.tensor([0.5, -2.0, 3.0])
    weights = torch.cat((lses.double().exp2(), sinks[None, :group].double().exp()))
    weights = weights / weights.sum(0)
    expected = (weights[:-1, :, None] * results).sum(0) * VALUE_SCALE
    torch.testing.assert_close(
        finish(results, lses, sinks[:group]).double(), expected, rtol=1e-5, atol=1e-6
    )
