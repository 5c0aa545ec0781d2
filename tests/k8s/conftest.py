"""One cluster for the tests that look at it from outside: its start takes many seconds."""

from collections.abc import Iterator

import pytest

from legato.tests.deployments.server import Server, running_server

API_KEY = "a-key-that-only-the-proxy-has"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """As k8s/nginx says how to start it; every prompt is handed over."""
    words = ("--api-key", API_KEY, "--forwarded-allow-ips", "127.0.0.1")
    folder = tmp_path_factory.mktemp("cluster")
    with running_server(folder, *words, "--local-prefill-max-tokens", "0") as running:
        yield running
