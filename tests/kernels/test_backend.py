import inspect

import pytest
import torch

from legato.kernels import backend, torch_kernels
from legato.kernels.gpu import triton_kernels

NAMES = sorted(
    name
    for name, value in vars(backend.Kernels).items()
    if inspect.isfunction(value) and name[0] != "_"
)


def test_a_cpu_computes_with_plain_torch() -> None:
    assert backend.kernels_for(torch.device("cpu")) is torch_kernels


def test_a_gpu_computes_with_triton() -> None:
    assert backend.kernels_for(torch.device("cuda")) is triton_kernels


@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_has_a_twin_with_its_parameters(name: str) -> None:
    wanted = list(inspect.signature(getattr(backend.Kernels, name)).parameters)[1:]
    for kernels in (torch_kernels, triton_kernels):
        found = inspect.signature(getattr(kernels, name)).parameters.values()
        # A kernel may take more by name: how it is to be laid out.
        assert [p.name for p in found if p.kind is p.POSITIONAL_OR_KEYWORD] == wanted
