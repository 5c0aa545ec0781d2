import torch
import torch.nn.functional as F

from legato.kernels.activation import clamp_and_mul, gelu_tanh_and_mul, silu_and_mul
from legato.kernels.activation_kind import ClampedGate


def test_the_first_half_gates_the_second() -> None:
    gate, up = torch.randn(4, 10), torch.randn(4, 10)
    actual = silu_and_mul(torch.cat((gate, up), dim=-1))
    torch.testing.assert_close(actual, gate * torch.sigmoid(gate) * up)


def test_gelu_is_near_the_exact_one() -> None:
    gate, up = torch.randn(4, 10), torch.randn(4, 10)
    actual = gelu_tanh_and_mul(torch.cat((gate, up), dim=-1))
    torch.testing.assert_close(actual, F.gelu(gate) * up, atol=3e-3, rtol=0)


def test_large_gates_and_ups_are_clamped() -> None:
    gate, up = torch.tensor([[-9.0, 0.5, 9.0, 9.0]]), torch.tensor([[-9.0, 0.5, 9.0, -9.0]])
    actual = clamp_and_mul(torch.cat((gate, up), dim=-1), ClampedGate(limit=2.0, slope=1.5))
    clamped = torch.tensor([-9.0, 0.5, 2.0, 2.0])
    wanted = torch.tensor([-1.0, 1.5, 3.0, -1.0]) * clamped * torch.sigmoid(1.5 * clamped)
    torch.testing.assert_close(actual, wanted[None])
