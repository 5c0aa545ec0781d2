"""`legato serve` on a Ray that runs already: it serves, and leaves the Ray as it was."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray import serve

from legato.cluster.membership import live_actor_names
from legato.deployments.local_cluster import APPLICATION
from legato.tests.deployments.server import free_port, run_legato, running_server


@pytest.fixture
def ray_address() -> Iterator[str]:
    ray.init(address="local", num_cpus=4, include_dashboard=False)
    yield ray.get_runtime_context().gcs_address
    serve.shutdown()
    ray.shutdown()


def test_it_serves_on_a_ray_that_runs_already_and_leaves_it_running(
    ray_address: str, tmp_path: Path
) -> None:
    joins = ("--device", "cpu", "--ray-address", ray_address)
    with running_server(tmp_path, *joins) as server:
        with server.client() as client:
            answer = client.completions.create(
                model=server.model()["id"], prompt="Once", max_tokens=8
            )
        assert answer.usage is not None and answer.usage.completion_tokens == 8
        assert server.engines() == {}  # they are the other Ray's processes
        assert len(live_actor_names()) == 2
        second = run_legato("serve", *joins, "--port", str(free_port()))
        assert second.code == 1
        assert f"runs an application named {APPLICATION} already" in second.stderr
        assert server.get("/ready").status_code == 200
    assert not live_actor_names()
    assert APPLICATION not in serve.status().applications


def test_a_ray_that_is_not_there_is_told_in_a_line() -> None:
    address = f"127.0.0.1:{free_port()}"
    ended = run_legato("serve", "--device", "cpu", "--ray-address", address)
    assert ended.code == 1
    assert ended.stderr.splitlines()[-1].startswith(f"legato: no Ray cluster at {address}: ")
