import io
import sys

import pytest

from legato.engine.load_bar import LoadBar
from legato.engine.load_progress import LoadProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_stage_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    with LoadBar() as bar:
        bar.update(LoadProgress("loading weights", 5, 10))
        bar.update(LoadProgress("loading weights", 10, 10))
        bar.update(LoadProgress("capturing CUDA graphs", 1, 2, "graphs"))
    assert "loading weights" in screen.getvalue()
    assert "capturing CUDA graphs" in screen.getvalue()
    assert screen.getvalue().rstrip(" ").endswith("\r")  # nothing is left behind


def test_nothing_is_written_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with LoadBar() as bar:
        bar.update(LoadProgress("loading weights", 5, 10))
    assert capsys.readouterr().err == ""
