"""Log lines go to standard error, once."""

import logging
from collections.abc import Iterator

import pytest

from legato.cluster.logs import configure_logging


@pytest.fixture(autouse=True)
def untouched_logger() -> Iterator[None]:
    """The `legato` logger as pytest knows it, before and after."""
    root = logging.getLogger("legato")
    before = root.level, list(root.handlers), root.propagate
    root.handlers.clear()
    yield
    root.level, root.handlers[:], root.propagate = before


def test_a_line_names_its_level_and_module_and_comes_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging()
    configure_logging()
    logging.getLogger("legato.cluster.worker").info("it serves")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("INFO ")
    assert lines[0].endswith("legato.cluster.worker: it serves")


def test_a_second_call_changes_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    configure_logging(logging.ERROR)
    logging.getLogger("legato.engine").warning("not shown")
    assert capsys.readouterr().err == ""


def test_other_libraries_loggers_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(logging.DEBUG)
    logging.getLogger("another.library").debug("not shown")
    assert capsys.readouterr().err == ""
