"""What holds for all tests: one thread for torch, and no GPU test without a GPU."""

import pytest
import torch


def pytest_configure() -> None:
    # Tests share few cores, and tiny models are quicker without threads.
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
