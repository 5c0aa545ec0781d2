"""One server for the tests that only talk to it: its start takes many seconds."""

from collections.abc import Iterator

import pytest

from legato.tests.deployments.server import Server, running_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the server's files last: while it lives, it takes processor time from other tests."""
    paths = {item.path for item in items if "server" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path in paths)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The built-in model, one prefill and one decode worker; every prompt is handed over."""
    # On a GPU, too, greedy answers are to be the same in every batch.
    options = ("--local-prefill-max-tokens", "0", "--convert", "embed", "--dtype", "float32")
    with running_server(tmp_path_factory.mktemp("server"), *options) as running:
        yield running
