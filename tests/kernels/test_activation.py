import torch
import torch.nn.functional as F

from legato.kernels.activation import gelu_tanh_and_mul, silu_and_mul


def test_the_first_half_gates_the_second() -> None:
    gate, up = torch.randn(4, 10), torch.randn(4, 10)
    actual = silu_and_mul(torch.cat((gate, up), dim=-1))
    torch.testing.assert_close(actual, gate * torch.sigmoid(gate) * up)


def test_gelu_is_near_the_exact_one() -> None:
    gate, up = torch.randn(4, 10), torch.randn(4, 10)
    actual = gelu_tanh_and_mul(torch.cat((gate, up), dim=-1))
    torch.testing.assert_close(actual, F.gelu(gate) * up, atol=3e-3, rtol=0)
