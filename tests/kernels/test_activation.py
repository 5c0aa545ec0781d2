import torch

from legato.kernels.activation import silu_and_mul


def test_the_first_half_gates_the_second() -> None:
    gate, up = torch.randn(4, 10), torch.randn(4, 10)
    actual = silu_and_mul(torch.cat((gate, up), dim=-1))
    torch.testing.assert_close(actual, gate * torch.sigmoid(gate) * up)
