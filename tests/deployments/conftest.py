"""One server for the tests that only talk to it: its start takes many seconds."""

from collections.abc import Iterator

import pytest

from legato.tests.deployments.server import Server, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The built-in model, one prefill and one decode worker; every prompt is handed over."""
    with running_server(
        tmp_path_factory.mktemp("server"), "--local-prefill-max-tokens", "0"
    ) as running:
        yield running
