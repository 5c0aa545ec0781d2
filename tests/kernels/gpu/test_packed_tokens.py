# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
import torch
import triton
import triton.language as tl

from legato.kernels.gpu.packed_tokens import pack, packed_token, packed_value
from legato.tests.kernels.gpu.device import DEVICE


@triton.jit
def pack_and_unpack(values, tokens, packed, values_again, tokens_again, SIZE: tl.constexpr):
    lanes = tl.arange(0, SIZE)
    found = pack(tl.load(values + lanes), tl.load(tokens + lanes))
    tl.store(packed + lanes, found)
    tl.store(values_again + lanes, packed_value(found))
    tl.store(tokens_again + lanes, packed_token(found))


def test_packed_tokens_sort_by_value_and_then_by_lower_tokens() -> None:
    infinity = float("inf")
    ascending = [-infinity, -3e38, -1.0, -1e-40, -0.0, 0.0, 0.0, 1e-40, 2.5, 2.5, 3e38, infinity]
    token_ids = [7, 0, 5, 9, 8, 6, 2, 1, (1 << 31) - 1, 4, 3, 0]
    values = torch.tensor([*ascending, *[0.0] * 4], device=DEVICE)
    tokens = torch.tensor([*token_ids, *[0] * 4], dtype=torch.int32, device=DEVICE)
    packed = torch.empty(16, dtype=torch.int64, device=DEVICE)
    values_again, tokens_again = torch.empty_like(values), torch.empty_like(tokens)
    pack_and_unpack[(1,)](values, tokens, packed, values_again, tokens_again, SIZE=16)
    order = packed[: len(ascending)].tolist()
    assert order == sorted(order) and len(set(order)) == len(order)
    assert torch.equal(values_again, values)
    assert torch.equal(tokens_again, tokens)
