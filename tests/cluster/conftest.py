"""Ray for the tests of one module, and a small model for its workers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from legato.tests.checkpoints import make_checkpoint


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        # As in a cluster that serves: other tests that run meanwhile do not go first.
        _system_config={"worker_niceness": 0},
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with 97 tokens and a context of 512."""
    return make_checkpoint(tmp_path_factory.mktemp("model"), "llama")
