"""What holds for all tests: one thread for torch, no GPU test without a GPU, the same random
tensors whatever ran before, and no test that fails because the machine is busy with another."""

import os

import pytest
import torch
from hypothesis import HealthCheck, settings

if not torch.cuda.is_available():
    # Read when a kernel is defined: without a GPU, kernels run in Triton's interpreter.
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_configure() -> None:
    # Tests share few cores, and tiny models are quicker without threads.
    torch.set_num_threads(1)
    settings.register_profile(
        "busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("busy machine")


@pytest.hookimpl(tryfirst=True)  # before the fixtures of a module, too
def pytest_runtest_setup() -> None:
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
